"""One run: read the log, compare every champion, write a folder of files that appears whole or not at all.

reports/<UTC time>/   index.html · summary.json · drift-<model>.html · drift-<model>.json
reports/latest        a link to the newest
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from firstmile.clock import Clock, to_datetime
from firstmile.errors import ConflictError, DataError
from firstmile.settings import Settings
from firstmile.vocabulary import models_of
from monitoring.decisions import DecisionFrames, read_decisions, refuse_audit_names, require
from monitoring.drift import compare, model_columns
from monitoring.page import report_page
from monitoring.reference import Champion, References
from monitoring.summary import Compared, Document, summarize

log = logging.getLogger(__name__)

LATEST = "latest"


class NotComparableError(DataError):
    """One model cannot be compared; the others may be."""


@dataclass(frozen=True)
class Report:
    """Where a report is, and what it says."""

    folder: Path
    summary: Document

    def as_fields(self) -> Document:
        """The verb's result."""
        short = (
            "version",
            "n_current",
            "n_reference",
            "n_columns",
            "n_drifted",
            "share_drifted",
            "is_prediction_drifted",
        )
        models: Mapping[str, Any] = self.summary["models"]
        return {
            "folder": str(self.folder),
            "index": str(self.folder / "index.html"),
            "summary": str(self.folder / "summary.json"),
            "latest": str(self.folder.parent / LATEST),
            "decisions": {k: self.summary["decisions"][k] for k in ("n_decisions", "n_scored", "n_users", "rungs")},
            "models": {
                model: {
                    **{k: found[k] for k in short},
                    "drifted": [c["column"] for c in found["drifted"]],
                    **{kind: str(self.folder / name) for kind, name in found["files"].items()},
                }
                for model, found in models.items()
            },
            "skipped": self.summary["skipped"],
        }


def make_report(settings: Settings, clock: Clock) -> Report:
    """Read, compare, write.

    Raises DataError when there are too few decisions, no model could be compared, or an audit attribute turned up;
    DependencyError when Kafka, the registry or MLflow does not answer.
    """
    found = read_decisions(settings)
    scored = require(found, at_least=settings.monitoring.min_decisions)
    log.info("%d decisions read, %d answered by models", len(found.decisions.answers), len(scored.answers))
    references = References(settings)
    compared, skipped = {}, {}
    for model in models_of(settings.product):
        champion = references.champion(model)
        if champion is None:
            skipped[model] = f"it has no champion; firstmile promote {model} makes one"
            continue
        try:
            compared[model] = compare_champion(references, champion, scored, at_least=settings.monitoring.min_decisions)
        except NotComparableError as error:
            skipped[model] = str(error)
    if not compared:
        reasons = "; ".join(f"{model}: {why}" for model, why in skipped.items())
        raise DataError(f"no model could be compared: {reasons}")
    summary = summarize(found, compared, skipped, made_us=clock.now_us())
    return Report(write(settings.reports, summary, compared, made_us=clock.now_us()), summary)


def compare_champion(references: References, champion: Champion, scored: DecisionFrames, *, at_least: int) -> Compared:
    """One champion's decisions against its training set.

    Raises NotComparableError when there are too few of this version or nothing to compare with, DataError when the
    training set holds an audit attribute.
    """
    of_it = scored.of_version(champion.model, champion.version)
    if len(of_it.answers) < at_least:
        raise NotComparableError(
            f"its champion, version {champion.version}, took part in {len(of_it.answers)} decisions, {at_least} are "
            "needed"
        )
    try:
        reference = references.training_set(champion)
    except DataError as error:
        raise NotComparableError(str(error)) from error
    refuse_audit_names(reference.columns, where=f"the training set of {champion.model} version {champion.version}")
    n_users = int(of_it.answers["user_id"].nunique())
    log.info("comparing %s version %s: %d decisions", champion.model, champion.version, len(of_it.answers))
    try:
        drift = compare(reference, model_columns(of_it, champion.model), n_independent=n_users)
    except DataError as error:
        raise NotComparableError(str(error)) from error
    return Compared(champion.version, len(of_it.answers), n_users, len(reference), drift)


def write(reports: Path, summary: Document, compared: Mapping[str, Compared], *, made_us: int) -> Path:
    """The report's folder, complete, and `latest` on it.

    Raises ConflictError when there is one of the same millisecond.
    """
    reports.mkdir(parents=True, exist_ok=True)
    moment = to_datetime(made_us)
    folder = reports / f"{moment:%Y-%m-%dT%H-%M-%S}.{moment.microsecond // 1000:03d}Z"
    coming = Path(tempfile.mkdtemp(prefix=".coming-", dir=reports))
    try:
        for model, found in compared.items():
            (coming / f"drift-{model}.html").write_text(found.drift.html, encoding="utf-8")
            (coming / f"drift-{model}.json").write_bytes(found.drift.json)
        (coming / "summary.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
        (coming / "index.html").write_text(report_page(summary), encoding="utf-8")
        coming.chmod(0o755)  # mkdtemp's own is for one user
        try:
            coming.rename(folder)
        except OSError as error:
            raise ConflictError(f"{folder} cannot be written ({error.strerror}); run it again") from error
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    link = reports / f".{folder.name}.{os.getpid()}"
    link.symlink_to(folder.name)
    link.replace(reports / LATEST)
    return folder


def report_names(reports: Path) -> list[str]:
    """The reports there are, newest first."""
    if not reports.is_dir():
        return []
    folders = (p for p in reports.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))
    return sorted((p.name for p in folders if (p / "index.html").is_file()), reverse=True)

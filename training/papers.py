"""A fitted model into MLflow with its papers: one run with everything about it, one version of its registered model.

The run is complete before the version exists, and the version is judged before `challenger` points at it: whoever is
killed in between leaves a run or a version nobody refers to.
"""

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import mlflow.xgboost
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from mlflow.entities import Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient

from firstmile.names import CHALLENGER
from firstmile.setting_sections import ROOT
from training.figures import DayFigures, metric_name

TRAINING_SET, TRAINING_USERS, EXAMINED = "training_set.parquet", "training_users.parquet", "examined.parquet"
"""Vectors and answers; whose they are and their labels, in the same order; the judged examination. Only the first is
for monitoring, and names nobody."""
CARD = "model_card.md"
REQUIREMENTS = [f"mlflow=={mlflow.__version__}", f"xgboost=={xgb.__version__}"]
"""Given, not inferred: MLflow would load the model in a process of its own to find out, for ten seconds."""


@dataclass(frozen=True)
class Papers:
    """Everything that is filed of a model.

    feature_service
        What it reads; a tag of run and version.
    figures
        By name of examination, or of a form of it.
    cost
        `latency_ms` of one answer, `size_bytes` of the booster.
    documents, texts, tables
        Files of the run, by name.
    beside
        Texts that serving needs beside the booster, by name of file.
    draw
        Draws pictures into a folder.
    """

    model: str
    feature_service: str
    booster: xgb.Booster
    signature: ModelSignature
    params: Mapping[str, Any]
    tags: Mapping[str, Any]
    figures: Mapping[str, DayFigures]
    cost: Mapping[str, float]
    documents: Mapping[str, Any]
    texts: Mapping[str, str]
    tables: Mapping[str, pa.Table]
    beside: Mapping[str, str] = field(default_factory=dict)
    draw: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Registered:
    """Where it went."""

    version: str
    run_id: str


def file_version(client: MlflowClient, experiment: str, papers: Papers) -> Registered:
    """Log the run, register the model under its name; no alias points at the version yet.

    experiment
        Experiment id.
    """
    tags = {"feature_service": papers.feature_service, "git_commit": commit(), **papers.tags}
    with mlflow.start_run(experiment_id=experiment, run_name=papers.model) as run:
        run_id = str(run.info.run_id)
        client.log_batch(
            run_id,
            params=[Param(name, str(value)) for name, value in papers.params.items()],
            tags=[RunTag(name, str(value)) for name, value in tags.items()],
        )
        with tempfile.TemporaryDirectory(prefix="firstmile-train-") as folder:
            _write(Path(folder), papers)
            client.log_artifacts(run_id, folder)
        info = _log_model(papers)
        # After the model: it would ask for the history of each metric there is, one by one.
        client.log_batch(run_id, metrics=_metrics(papers, run_id, info.model_id))
    version = mlflow.register_model(info.model_uri, papers.model, tags={"feature_service": papers.feature_service})
    return Registered(str(version.version), run_id)


def point_challenger(client: MlflowClient, model: str, version: str, is_let: bool) -> str | None:
    """Move `challenger` to a version, if it is let; the alias it has now."""
    if not is_let:
        return None
    client.set_registered_model_alias(model, CHALLENGER, version)
    return CHALLENGER


def commit() -> str:
    """The git commit of the code, `-dirty` when files differ from it; empty outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def set_params(description: Mapping[str, Any]) -> dict[str, Any]:
    """A set's description as parameters of a run.

    >>> set_params({"n_rows": 3, "cohorts": ["AAA_2013J", "AAA_2014J"]})
    {'set.n_rows': 3, 'set.cohorts': 'AAA_2013J,AAA_2014J'}
    """
    return {f"set.{k}": ",".join(v) if isinstance(v, list) else v for k, v in description.items()}


def _write(folder: Path, papers: Papers) -> None:
    for name, document in papers.documents.items():
        # An undefined figure becomes null: json would write NaN, which is no JSON.
        (folder / name).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
    for name, text in papers.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, table in papers.tables.items():
        pq.write_table(table, folder / name, compression="zstd")
    if papers.draw is not None:
        plots = folder / "plots"
        plots.mkdir()
        papers.draw(plots)


def _log_model(papers: Papers) -> Any:
    """The native booster with what serving needs beside it."""
    with tempfile.TemporaryDirectory(prefix="firstmile-train-") as folder:
        files = [Path(folder) / name for name in papers.beside]
        for file in files:
            file.write_text(papers.beside[file.name], encoding="utf-8")
        return mlflow.xgboost.log_model(
            papers.booster,
            name="model",
            signature=papers.signature,
            pip_requirements=REQUIREMENTS,
            model_format="ubj",
            extra_files=[str(file) for file in files] or None,
        )


def _metrics(papers: Papers, run_id: str, model_id: str) -> list[Metric]:
    """Of the run and of its model alike."""
    values = {
        metric_name(examination, day, name): value
        for examination, by_day in papers.figures.items()
        for day, figures in by_day.items()
        for name, value in figures.items()
        if not np.isnan(value)
    }
    now_ms = int(mlflow.utils.time.get_current_time_millis())
    return [
        Metric(name, value, now_ms, 0, model_id=model_id, run_id=run_id)
        for name, value in {**values, **papers.cost}.items()
    ]

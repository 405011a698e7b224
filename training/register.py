"""A fitted model into MLflow: one run with everything about it, one version of the task's registered model.

The run is complete before the version exists, and the version is judged before `challenger` points at it: whoever is
killed in between leaves a run or a version nobody refers to.
"""

import subprocess
import tempfile
from collections.abc import Mapping
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
from mlflow.types import ColSpec, Schema, TensorSpec

from feature_repo.services import service_name
from firstmile.calibration import FILE
from firstmile.names import CHALLENGER
from firstmile.setting_sections import ROOT
from training.baselines import baselines_of
from training.dataset import TrainingSet
from training.examine import Answers
from training.figures import metric_name
from training.findings import Findings
from training.gates import all_passed, first_gate
from training.masking import MASKED_SHARE
from training.models import Fitted, Fitter
from training.plan import PLAIN, Plan
from training.plots import draw_all

TRAINING_SET, TRAINING_USERS, EXAMINED = "training_set.parquet", "training_users.parquet", "examined.parquet"
"""Vectors and answers; whose they are and their labels, in the same order; the judged examination. Only the first is
for monitoring, and names nobody."""
BASELINES = "baselines.json"
REQUIREMENTS = [f"mlflow=={mlflow.__version__}", f"xgboost=={xgb.__version__}"]
"""Given, not inferred: MLflow would load the model in a process of its own to find out, for ten seconds."""


@dataclass(frozen=True)
class Candidate:
    """A model about to be registered.

    fitted
        Refitted on all of data; findings are of the same recipe on students it had not seen.
    answers
        What it said in the examination the gates look at.
    judged_by
        Name of the figures the gates look at.
    cost
        `latency_ms` of one row, `size_bytes` of the booster.
    card
        The model card.
    plan, mitigation
        Why it was made, and what reweighing did: `reweigh.effect`.
    """

    data: TrainingSet
    fitter: Fitter
    fitted: Fitted
    findings: Findings
    answers: Answers
    judged_by: str
    cost: Mapping[str, float]
    card: str
    plan: Plan = PLAIN
    mitigation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Registered:
    """Where it went."""

    version: str
    run_id: str


def register(client: MlflowClient, experiment: str, candidate: Candidate) -> Registered:
    """Log the run, register the model under its task's name; no alias points at the version yet.

    experiment
        Experiment id.
    """
    model = candidate.data.model
    with mlflow.start_run(experiment_id=experiment, run_name=model) as run:
        run_id = str(run.info.run_id)
        client.log_batch(run_id, params=_params(candidate), tags=_tags(candidate))
        with tempfile.TemporaryDirectory(prefix="firstmile-train-") as folder:
            _write_artifacts(Path(folder), candidate)
            client.log_artifacts(run_id, folder)
        info = _log_model(candidate)
        # After the model: it would ask for the history of each metric there is, one by one.
        client.log_batch(run_id, metrics=_metrics(candidate, run_id, info.model_id))
    version = mlflow.register_model(info.model_uri, model, tags={"feature_service": service_name(model)})
    return Registered(str(version.version), run_id)


def point_challenger(client: MlflowClient, model: str, version: str, is_let: bool) -> str | None:
    """Move `challenger` to a version, if it is let; the alias it has now."""
    if not is_let:
        return None
    client.set_registered_model_alias(model, CHALLENGER, version)
    return CHALLENGER


def _log_model(candidate: Candidate) -> Any:
    """The native booster with its calibration beside it."""
    with tempfile.TemporaryDirectory(prefix="firstmile-train-") as folder:
        beside = Path(folder) / FILE
        beside.write_text(candidate.fitted.calibration.as_json(), encoding="utf-8")
        return mlflow.xgboost.log_model(
            candidate.fitted.booster,
            name="model",
            signature=_signature(candidate.fitter),
            pip_requirements=REQUIREMENTS,
            model_format="ubj",
            extra_files=[str(beside)],
        )


def reference_table(candidate: Candidate) -> pa.Table:
    """What monitoring compares live decisions with: the vectors, and what this model says to them.

    One column per feature, then `prediction`, or `prediction:<class>` with more than two classes. No user ids.
    """
    data, task = candidate.data, candidate.data.task
    columns: dict[str, Any] = {name: data.rows.x[:, i] for i, name in enumerate(data.features)}
    answers = candidate.fitted.probabilities(data.rows.x)
    if len(task.classes) == 2:
        columns["prediction"] = answers[:, 1]
    else:
        columns.update({f"prediction:{name}": answers[:, i] for i, name in enumerate(task.classes)})
    return pa.table(columns)


def examined_table(candidate: Candidate) -> pa.Table:
    """The judged examination, row by row: `row` of the training set, and the probability of each class."""
    columns: dict[str, Any] = {"row": candidate.answers.rows}
    return pa.table(columns | {f"p_{k}": candidate.answers.p[:, k] for k in range(candidate.answers.p.shape[1])})


def gated_without(candidate: Candidate) -> list[str]:
    """Views the model may do without: its figures with their features hidden pass the first gate too."""
    found = candidate.findings.figures
    prefix = f"{candidate.judged_by}_without_"
    views = [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
    return [v for v in views if all_passed(first_gate(candidate.data.task.evaluated_days, found[prefix + v]))]


def commit() -> str:
    """The git commit of the code, `-dirty` when files differ from it; empty outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _metrics(candidate: Candidate, run_id: str, model_id: str) -> list[Metric]:
    """Of the run and of its model alike."""
    now_ms = int(mlflow.utils.time.get_current_time_millis())
    return [
        Metric(metric_name(examination, day, name), value, now_ms, 0, model_id=model_id, run_id=run_id)
        for examination, by_day in candidate.findings.figures.items()
        for day, figures in by_day.items()
        for name, value in figures.items()
        if not np.isnan(value)
    ] + [Metric(name, value, now_ms, 0, model_id=model_id, run_id=run_id) for name, value in candidate.cost.items()]


def _params(candidate: Candidate) -> list[Param]:
    description = candidate.data.description()
    values = {
        **candidate.fitter.parameters(),
        **{f"set.{k}": ",".join(v) if isinstance(v, list) else v for k, v in description.items()},
        "n_rounds": candidate.fitted.booster.num_boosted_rounds(),
        "calibration": candidate.fitted.calibration.method,
        **{f"calibration.log_loss.{method}": loss for method, loss in candidate.fitted.losses.items()},
        "masked_share": MASKED_SHARE,
        "reweighed": candidate.plan.reweigh or "",
        "n_features": len(candidate.data.features),
        "snapshot_days": ",".join(map(str, candidate.data.task.snapshot_days)),
        "evaluated_days": ",".join(map(str, candidate.data.task.evaluated_days)),
        "fitted_on": "all rows of the set; the metrics are of students held out of it, see judged_by",
    }
    return [Param(name, str(value)) for name, value in values.items()]


def _tags(candidate: Candidate) -> list[RunTag]:
    values = {
        "feature_service": service_name(candidate.data.model),
        "trained_until_us": candidate.data.trained_until_us(),
        "min_onboarding_days": min(candidate.data.task.snapshot_days),
        "judged_by": candidate.judged_by,
        "gated_without": ",".join(gated_without(candidate)),
        "git_commit": commit(),
        "because": candidate.plan.because,
    }
    return [RunTag(name, str(value)) for name, value in values.items()]


def _write_artifacts(folder: Path, candidate: Candidate) -> None:
    documents: dict[str, Any] = {
        "features.json": list(candidate.data.features),
        "training_set.json": {**candidate.data.description(), "counts_per_day": candidate.data.counts},
        "slices.json": candidate.findings.groups,
        **({"reweighing.json": candidate.mitigation} if candidate.mitigation else {}),
    }
    for name, document in documents.items():
        # An undefined figure becomes null: json would write NaN, which is no JSON.
        (folder / name).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
    (folder / BASELINES).write_text(baselines_of(candidate.data).as_json(), encoding="utf-8")
    (folder / "model_card.md").write_text(candidate.card, encoding="utf-8")
    pq.write_table(reference_table(candidate), folder / TRAINING_SET, compression="zstd")
    pq.write_table(pa.Table.from_pandas(candidate.data.users), folder / TRAINING_USERS, compression="zstd")
    pq.write_table(examined_table(candidate), folder / EXAMINED, compression="zstd")
    plots = folder / "plots"
    plots.mkdir()
    draw_all(plots, candidate.data, candidate.fitted, candidate.answers, candidate.findings)


def _signature(fitter: Fitter) -> ModelSignature:
    shape = (-1,) if fitter.n_classes == 2 else (-1, fitter.n_classes)
    inputs = Schema([ColSpec("double", name) for name in fitter.features])
    return ModelSignature(inputs=inputs, outputs=Schema([TensorSpec(np.dtype(np.float32), shape)]))

"""A fitted ranker into MLflow, as register.py does it for the other models: run, then version, then `challenger`."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import mlflow
import mlflow.xgboost
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from mlflow.entities import Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema, TensorSpec

from feature_repo.services import VERSION
from training.figures import DayFigures, metric_name
from training.ranker import N_ROUNDS, SHARE_OF_UNOPENED, Ranker
from training.ranking_set import MODEL, SNAPSHOT_DAYS, RankingSet
from training.register import REQUIREMENTS, Registered, commit
from training.split import Examination

SERVICE: Final = f"{MODEL}_v{VERSION}"
N_REFERENCE_GROUPS: Final = 100
"""Groups in the reference: all of them would be a hundred times the size of the model."""


@dataclass(frozen=True)
class RankerCandidate:
    """A ranker about to be registered.

    booster
        Fitted on all of data; figures are of the same recipe on students it had not seen.
    judged_by
        The examination the gate looks at.
    """

    data: RankingSet
    ranker: Ranker
    booster: xgb.Booster
    figures: Mapping[Examination, DayFigures]
    judged_by: Examination
    because: str = ""


def register_ranker(client: MlflowClient, experiment: str, candidate: RankerCandidate) -> Registered:
    """Log the run, register the ranker as `content_ranker`; no alias points at the version yet.

    experiment
        Experiment id.
    """
    with mlflow.start_run(experiment_id=experiment, run_name=MODEL) as run:
        run_id = str(run.info.run_id)
        client.log_batch(run_id, params=_params(candidate), tags=_tags(candidate))
        with tempfile.TemporaryDirectory(prefix="firstmile-train-") as folder:
            _write_artifacts(Path(folder), candidate)
            client.log_artifacts(run_id, folder)
        info = mlflow.xgboost.log_model(
            candidate.booster,
            name="model",
            signature=_signature(candidate.ranker),
            pip_requirements=REQUIREMENTS,
            model_format="ubj",
        )
        client.log_batch(run_id, metrics=_metrics(candidate, run_id, info.model_id))
    version = mlflow.register_model(info.model_uri, MODEL, tags={"feature_service": SERVICE})
    return Registered(str(version.version), run_id)


def reference_table(candidate: RankerCandidate) -> pa.Table:
    """What monitoring compares live decisions with, and serving its first answers: vectors, and the ranker's score.

    All candidates of some groups drawn by seed. One column per feature, then `prediction`. No user ids, no pages.
    """
    data, ranker = candidate.data, candidate.ranker
    chosen = np.zeros(len(data.groups), bool)
    n = min(N_REFERENCE_GROUPS, len(chosen))
    chosen[np.random.default_rng(ranker.seed).choice(len(chosen), n, replace=False)] = True
    x = data.where(chosen).x
    columns: dict[str, Any] = {name: ranker.columns(x)[:, i] for i, name in enumerate(ranker.features)}
    return pa.table({**columns, "prediction": ranker.scores(candidate.booster, x)})


def _metrics(candidate: RankerCandidate, run_id: str, model_id: str) -> list[Metric]:
    """Of the run and of its model alike."""
    now_ms = int(mlflow.utils.time.get_current_time_millis())
    return [
        Metric(metric_name(examination, day, name), value, now_ms, 0, model_id=model_id, run_id=run_id)
        for examination, by_day in candidate.figures.items()
        for day, figures in by_day.items()
        for name, value in figures.items()
        if not np.isnan(value)
    ]


def _params(candidate: RankerCandidate) -> list[Param]:
    values = {
        **candidate.ranker.parameters(),
        **{f"set.{k}": ",".join(v) if isinstance(v, list) else v for k, v in candidate.data.description().items()},
        "n_rounds": N_ROUNDS,
        "share_of_unopened": SHARE_OF_UNOPENED,
        "n_features": len(candidate.ranker.features),
        "snapshot_days": ",".join(map(str, SNAPSHOT_DAYS)),
        "fitted_on": "all groups of the set; the metrics are of students held out of it, see judged_by",
    }
    return [Param(name, str(value)) for name, value in values.items()]


def _tags(candidate: RankerCandidate) -> list[RunTag]:
    values = {
        "feature_service": SERVICE,
        "trained_until_us": candidate.data.trained_until_us(),
        "min_onboarding_days": min(SNAPSHOT_DAYS),
        "judged_by": candidate.judged_by,
        "git_commit": commit(),
        "because": candidate.because,
    }
    return [RunTag(name, str(value)) for name, value in values.items()]


def _write_artifacts(folder: Path, candidate: RankerCandidate) -> None:
    documents = {
        "features.json": list(candidate.ranker.features),
        "training_set.json": {**candidate.data.description(), "counts_per_day": candidate.data.counts},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1), encoding="utf-8")
    pq.write_table(reference_table(candidate), folder / "training_set.parquet", compression="zstd")


def _signature(ranker: Ranker) -> ModelSignature:
    inputs = Schema([ColSpec("float", name) for name in ranker.features])
    return ModelSignature(inputs=inputs, outputs=Schema([TensorSpec(np.dtype(np.float32), (-1,))]))

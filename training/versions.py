"""A registered version read back from MLflow: the fitted model, its set, what it said when it was examined."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow.xgboost
import numpy as np
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from firstmile.calibration import FILE, NONE, read_calibration
from firstmile.errors import DataError, unknown_name
from firstmile.names import RANKER
from training.arrays import FloatArray, IntArray
from training.baselines import Baselines, read_baselines
from training.dataset import TrainingSet
from training.models import Fitted, Rows
from training.papers import EXAMINED, TRAINING_SET, TRAINING_USERS
from training.register import BASELINES
from training.task import RANKING, Task
from training.tasks import TASKS


@dataclass(frozen=True)
class Version:
    """What MLflow says of a version without its files.

    tags
        Of its run, and over them those of the version.
    """

    model: str
    version: str
    run_id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def trained_until_us(self) -> int:
        """The last instant its labels looked at."""
        return int(self.tags.get("trained_until_us", 0))

    @property
    def task(self) -> Task:
        """What it was asked: the model's own of tasks.py, on the days its run names."""
        if self.model != RANKER and self.model not in TASKS:
            raise DataError(unknown_name("model", self.model, (*TASKS, RANKER)))
        own = RANKING if self.model == RANKER else TASKS[self.model]
        snapshot = self._days("snapshot_days", own.snapshot_days)
        return replace(own, snapshot_days=snapshot, evaluated_days=self._days("evaluated_days", own.evaluated_days))

    def _days(self, name: str, otherwise: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(map(int, self.params[name].split(","))) if name in self.params else otherwise


def read_version(client: MlflowClient, model: str, version: str) -> Version:
    """Tags of a version; tags, parameters and metrics of its run."""
    found = client.get_model_version(model, version)
    run = client.get_run(found.run_id)
    tags = {**run.data.tags, **found.tags}
    return Version(model, version, str(found.run_id), tags, run.data.params, run.data.metrics)


def read_fitted(version: Version) -> Fitted:
    """The model as serving has it. Raises DataError when its files are not there."""
    with tempfile.TemporaryDirectory(prefix="firstmile-version-") as folder:
        try:
            uri = f"models:/{version.model}/{version.version}"
            place = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
            booster = mlflow.xgboost.load_model(str(place))
        except (MlflowException, OSError) as error:
            raise _lost(version, "its booster", error) from error
        beside = place / "extra_files" / FILE
        calibration = read_calibration(beside.read_bytes()) if beside.exists() else NONE
    booster.set_param({"nthread": 1})
    return Fitted(booster, calibration)


def read_set(client: MlflowClient, version: Version) -> TrainingSet:
    """The set a version was trained on, rebuilt from its artifacts. Raises DataError when they are not there."""
    with tempfile.TemporaryDirectory(prefix="firstmile-version-") as folder:
        vectors = pq.read_table(read_artifact(client, version, TRAINING_SET, folder))
        users = pq.read_table(read_artifact(client, version, TRAINING_USERS, folder)).to_pandas()
    features = tuple(name for name in vectors.column_names if name.partition(":")[0] != "prediction")
    x = np.column_stack([vectors[name].to_numpy() for name in features]).astype(np.float64)
    weight = 1.0 / users.groupby("user_id")["user_id"].transform("size").to_numpy(np.float64)
    label, person = users["label"].to_numpy(np.int64), users["person"].to_numpy(np.int64)
    rows = Rows(x, label, weight, person, users["cohort"].to_numpy(str))
    return TrainingSet(version.model, features, users, rows, {}, version.task)


def read_examined(client: MlflowClient, version: Version) -> tuple[IntArray, FloatArray]:
    """(row of the training set, probabilities) of the judged examination. Raises DataError without it."""
    with tempfile.TemporaryDirectory(prefix="firstmile-version-") as folder:
        table = pq.read_table(read_artifact(client, version, EXAMINED, folder))
    p = np.column_stack([table[name].to_numpy() for name in table.column_names if name.startswith("p_")])
    return table["row"].to_numpy(), p


def read_baselines_of(client: MlflowClient, version: Version) -> Baselines:
    """The version's baselines. Raises DataError without them."""
    with tempfile.TemporaryDirectory(prefix="firstmile-version-") as folder:
        return read_baselines(Path(read_artifact(client, version, BASELINES, folder)).read_text(encoding="utf-8"))


def read_people(client: MlflowClient, version: Version) -> set[int]:
    """Whom the version learned from, by person. Raises DataError without the list."""
    with tempfile.TemporaryDirectory(prefix="firstmile-version-") as folder:
        table = pq.read_table(read_artifact(client, version, TRAINING_USERS, folder), columns=["person"])
    return set(table["person"].to_pylist())


def read_artifact(client: MlflowClient, version: Version, name: str, folder: str) -> str:
    """Path of a file of the version's run, brought into a folder. Raises DataError when it is not there."""
    try:
        return str(client.download_artifacts(version.run_id, name, folder))
    except (MlflowException, OSError) as error:
        raise _lost(version, name, error) from error


def _lost(version: Version, what: str, error: Exception) -> DataError:
    return DataError(
        f"MLflow did not give {what} of {version.model} {version.version} ({str(error).splitlines()[0]}); "
        f"train it again: firstmile train --model {version.model}"
    )

"""Small real models in a real MLflow, registered and promoted as training does it, in a second."""

from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.xgboost
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from serving_builder import booster

from feature_repo.services import model_features, service_name
from firstmile.names import CHAMPION, RANKER
from firstmile.vocabulary import CLASSES
from serving.ranker_check import SERVICE


@dataclass
class Lab:
    """An MLflow, and who registers models in it as training does; `folder` is for files on their way."""

    uri: str
    folder: Path

    def register(
        self,
        name: str = "activation",
        *,
        seed: int = 0,
        features: list[str] | None = None,
        lie: float = 0.0,
        **tags: str,
    ) -> str:
        """A champion of a small real booster; `lie` is added to the scores it is said to have given."""
        names = features or model_features(name)
        made = booster(name, tuple(names), seed=seed)
        rows = np.random.default_rng(1).uniform(0, 60, (40, len(names)))
        scores = np.asarray(made.inplace_predict(rows), np.float64)
        golden = {n: rows[:, i] for i, n in enumerate(names)}
        if scores.ndim == 1:
            golden["prediction"] = scores + lie
        else:
            golden |= {f"prediction:{c}": scores[:, i] + lie for i, c in enumerate(CLASSES[name])}
        return self.log(name, made, golden, **tags)

    def log(self, name: str, made: xgb.Booster, golden: dict[str, np.ndarray], **tags: str) -> str:
        """The version of a logged booster, now champion."""
        mlflow.set_tracking_uri(self.uri)
        with mlflow.start_run() as run:
            service = SERVICE if name == RANKER else service_name(name)
            mlflow.set_tags({"feature_service": service, "min_onboarding_days": "0", **tags})
            pq.write_table(pa.table(golden), self.folder / "training_set.parquet")
            mlflow.log_artifact(str(self.folder / "training_set.parquet"))
            info = mlflow.xgboost.log_model(made, name="model", pip_requirements=["xgboost"], model_format="ubj")
        version = mlflow.register_model(info.model_uri, name)
        self.promote(name, str(version.version))
        assert run.info.run_id
        return str(version.version)

    def promote(self, name: str, version: str, alias: str = CHAMPION) -> None:
        """Move the alias."""
        mlflow.MlflowClient(self.uri).set_registered_model_alias(name, alias, version)

    def withdraw(self, name: str, alias: str = CHAMPION) -> None:
        """Take the alias away."""
        mlflow.MlflowClient(self.uri).delete_registered_model_alias(name, alias)

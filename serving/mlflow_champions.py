"""Champions by MLflow's aliases: where they stand, and their files."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from firstmile.errors import DataError, DependencyError
from firstmile.mlflow_requests import keep_requests_short
from firstmile.names import CHAMPION
from serving.golden import GOLDEN
from serving.model_copies import Champion

REQUEST_TIMEOUT_S = 5
RUN_KEPT_S: Final = 60.0


class MlflowChampions:
    """Champions by MLflow's alias."""

    def __init__(self, uri: str) -> None:
        import mlflow

        keep_requests_short(timeout_s=REQUEST_TIMEOUT_S)
        mlflow.set_tracking_uri(uri)
        self.uri = uri
        self._client: Any = mlflow.MlflowClient(uri)
        self._runs: dict[str, tuple[float, Mapping[str, str]]] = {}

    def champion(self, name: str, alias: str = CHAMPION) -> Champion | None:
        """The version the alias stands at, with what its run says; None, DataError, DependencyError as agreed."""
        from mlflow.exceptions import MlflowException

        try:
            version = self._client.get_model_version_by_alias(name, alias)
            tags = self._tags(str(version.run_id or ""))
        except MlflowException as error:
            if error.error_code == "INVALID_PARAMETER_VALUE":  # the server's word for an alias that stands nowhere
                return None
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise DataError(
                    f"MLflow at {self.uri} knows no model {name}; `firstmile train` registers it"
                ) from error
            raise DependencyError(f"MLflow at {self.uri} did not answer: {_cause(error)}") from error
        except OSError as error:
            raise DependencyError(f"MLflow at {self.uri} did not answer: {error}") from error
        return Champion(
            name,
            str(version.version),
            str(version.run_id or ""),
            features_of=tags.get("feature_service", ""),
            min_onboarding_days=float(tags.get("min_onboarding_days", 0)),
            gated_without=tuple(v for v in tags.get("gated_without", "").split(",") if v),
        )

    def _tags(self, run_id: str) -> Mapping[str, str]:
        """What training said of its run; asked for once in RUN_KEPT_S, since a look takes the interpreter from
        answers."""
        if not run_id:
            return {}
        asked_s, tags = self._runs.get(run_id, (-RUN_KEPT_S, {}))
        if time.monotonic() - asked_s >= RUN_KEPT_S:
            tags = dict(self._client.get_run(run_id).data.tags)
            self._runs[run_id] = time.monotonic(), tags
        return tags

    def fetch(self, champion: Champion, folder: Path) -> None:
        """Download the version's files, and its run's golden rows if it has any.

        Raises DependencyError when MLflow or its artifacts are away.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        source = f"models:/{champion.name}/{champion.version}"
        try:
            download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=self.uri)
            if champion.run_id and GOLDEN in {f.path for f in self._client.list_artifacts(champion.run_id)}:
                golden = f"runs:/{champion.run_id}/{GOLDEN}"
                download_artifacts(artifact_uri=golden, dst_path=str(folder), tracking_uri=self.uri)
        except (MlflowException, OSError) as error:
            raise DependencyError(f"MLflow at {self.uri} did not give {source}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """The end of MLflow's long messages, which is what happened."""
    return str(error).rpartition("Caused by ")[2].rstrip(")")

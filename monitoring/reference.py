"""What a champion was trained on: the vectors and its own answers to them, from the run that made it."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from firstmile.errors import DataError, DependencyError
from firstmile.mlflow_requests import keep_requests_short
from firstmile.names import CHAMPION
from firstmile.settings import Settings

ARTIFACT: Final = "training_set.parquet"
PREDICTION: Final = "prediction"
REQUEST_TIMEOUT_S: Final = 10


@dataclass(frozen=True)
class Champion:
    """The version that answers, and the run it came from."""

    model: str
    version: str
    run_id: str


def is_prediction(column: str) -> bool:
    """Whether a column of the training set is an answer: `prediction`, or `prediction:<class>`."""
    return column.partition(":")[0] == PREDICTION


class References:
    """Champions and their training sets. Each version is downloaded once, into a folder of the settings' home."""

    def __init__(self, settings: Settings) -> None:
        from mlflow.tracking import MlflowClient  # 2 s, so not before it is needed

        keep_requests_short(timeout_s=REQUEST_TIMEOUT_S)
        self.uri = settings.mlflow_uri
        self.folder = settings.home / "monitoring" / "references"
        self._client: Any = MlflowClient(self.uri)

    def champion(self, model: str) -> Champion | None:
        """Who is champion; None when nothing is registered or the alias stands nowhere.

        Raises DependencyError when MLflow does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            version = self._client.get_model_version_by_alias(model, CHAMPION)
        except MlflowException as error:
            # INVALID_PARAMETER_VALUE is the server's word for an alias that stands nowhere.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise self._away(error) from error
        except OSError as error:
            raise self._away(error) from error
        return Champion(model, str(version.version), str(version.run_id or ""))

    def training_set(self, champion: Champion) -> pd.DataFrame:
        """One row per training row: the features, then the answers.

        Raises DataError when the run has no training set or one that cannot be used, DependencyError when MLflow does
        not answer.
        """
        path = self.folder / champion.model / f"{champion.version}-{champion.run_id[:8]}.parquet"
        if not path.exists():
            self._download(champion, path)
        what = f"the training set of {champion.model} version {champion.version}"
        try:
            found = pd.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
            raise DataError(f"{what} does not read ({error}); delete {path}, it is only a copy") from error
        if found.empty or not any(map(is_prediction, found.columns)):
            raise DataError(
                f"{what} has {len(found)} rows and the columns {', '.join(found.columns[:3])} …: rows and a "
                f"column {PREDICTION} are needed; train it again"
            )
        return found.astype("float64")

    def _download(self, champion: Champion, path: Path) -> None:
        """Bring the artifact to `path`, whole or not at all."""
        from mlflow.exceptions import MlflowException

        path.parent.mkdir(parents=True, exist_ok=True)
        coming = Path(tempfile.mkdtemp(prefix=".coming-", dir=path.parent))
        try:
            names = {f.path for f in self._client.list_artifacts(champion.run_id)} if champion.run_id else set()
            if ARTIFACT not in names:
                raise DataError(
                    f"{champion.model} version {champion.version} came without {ARTIFACT} (run "
                    f"{champion.run_id or 'unknown'}): there is nothing to compare with; train and promote it again"
                )
            Path(self._client.download_artifacts(champion.run_id, ARTIFACT, str(coming))).replace(path)
        except (MlflowException, OSError) as error:
            raise self._away(error) from error
        finally:
            shutil.rmtree(coming, ignore_errors=True)

    def _away(self, error: Exception) -> DependencyError:
        cause = str(error).rpartition("Caused by ")[2].rstrip(")").partition("\n")[0]
        return DependencyError(
            f"MLflow at {self.uri} did not answer ({cause}); `firstmile status` shows it, `firstmile up` starts it, or "
            "set FIRSTMILE_MLFLOW__TRACKING_URI"
        )

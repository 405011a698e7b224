"""Which models answer: MLflow's champions, followed in the background, swapped between two requests."""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from feature_repo.services import model_features, service_name
from firstmile.errors import DataError, DependencyError
from firstmile.names import CHAMPION, MODELS
from firstmile.settings import Settings
from serving.golden import GOLDEN, check_golden
from serving.model_copies import Champion, ModelCopies, load
from serving.models import ScoringModel, check

log = logging.getLogger(__name__)
REQUEST_TIMEOUT_S = 5


class Champions(Protocol):
    """Where champions are named and fetched: MLflow, or a fake."""

    def champion(self, name: str) -> Champion | None:
        """The champion, None when the alias was taken away.

        Raises DataError when the model is not known at all, DependencyError when it cannot be asked.
        """
        ...

    def fetch(self, champion: Champion, folder: Path) -> None:
        """Put the model's files into a folder. Raises DependencyError when it cannot."""
        ...


class MlflowChampions:
    """Champions by MLflow's alias."""

    def __init__(self, uri: str) -> None:
        import mlflow
        from mlflow import environment_variables as knobs
        from mlflow.telemetry import set_telemetry_client

        # MLflow's own seven retries with back-off would hold a dead server's answer for minutes.
        knobs.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)
        knobs.MLFLOW_HTTP_REQUEST_TIMEOUT.set(REQUEST_TIMEOUT_S)
        knobs.MLFLOW_DISABLE_TELEMETRY.set(True)
        knobs.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
        set_telemetry_client()
        mlflow.set_tracking_uri(uri)
        self.uri = uri
        self._client: Any = mlflow.MlflowClient(uri)

    def champion(self, name: str) -> Champion | None:
        """The version the alias stands at, with what its run says; None, DataError, DependencyError as agreed."""
        from mlflow.exceptions import MlflowException

        try:
            version = self._client.get_model_version_by_alias(name, CHAMPION)
            tags = self._client.get_run(version.run_id).data.tags if version.run_id else {}
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


class ModelWatch:
    """The models in use. `current` is replaced whole, so that a request sees one set from beginning to end."""

    def __init__(
        self,
        copies: ModelCopies,
        connect: Callable[[], Champions],
        *,
        poll_s: float,
        on_change: Callable[[Mapping[str, ScoringModel]], None] = lambda models: None,
    ) -> None:
        self.current: Mapping[str, ScoringModel] = MappingProxyType({})
        self.first_look = threading.Event()
        self._on_change = on_change
        self._copies = copies
        self._connect = connect
        self._poll_s = poll_s
        self._refused: dict[str, Champion] = {}
        self._is_away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="champions", daemon=True)

    def start(self) -> None:
        """Load the copies of last time, then follow the aliases in the background."""
        for name in MODELS:
            try:
                last = self._copies.last(name)
                if last is not None:
                    self._swap(_checked(load(*last), last[1]))
            except DataError as error:
                log.warning("starting without the copy of %s: %s", name, error)
                self._copies.drop(name)  # so that it is fetched again
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether aliases are still followed."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Follow no longer."""
        self._stop.set()

    def look(self, champions: Champions) -> None:
        """One look at every alias; takes what is new and sound. Raises DependencyError when MLflow is away."""
        for name in MODELS:
            try:
                champion = champions.champion(name)
            except DataError:  # an empty MLflow is no order to forget what works
                continue
            if champion is None:
                self._withdraw(name)
            elif not self._has(champion) and self._refused.get(name) != champion:
                self._take(champions, champion)

    def _take(self, champions: Champions, champion: Champion) -> None:
        try:
            if champion.features_of not in ("", service_name(champion.name)):
                raise DataError(f"it reads {champion.features_of}, this code gives {service_name(champion.name)}")
            place = self._copies.keep(champion, lambda folder: champions.fetch(champion, folder))
            model = _checked(load(champion, place), place)
        except DataError as error:
            self._refused[champion.name] = champion
            self._copies.drop(champion.name, champion)
            stays = self.current.get(champion.name)
            log.error(
                "%s version %s is refused, %s: %s",
                champion.name,
                champion.version,
                f"version {stays.version} stays" if stays else "there is none to fall back on",
                error,
            )
            return
        self._swap(model)
        self._copies.use(champion)
        log.info("%s version %s answers now", champion.name, champion.version)

    def _swap(self, model: ScoringModel) -> None:
        self.current = MappingProxyType({**self.current, model.name: model})
        self._on_change(self.current)

    def _has(self, champion: Champion) -> bool:
        model = self.current.get(champion.name)
        return model is not None and (model.version, model.run_id) == (champion.version, champion.run_id)

    def _withdraw(self, name: str) -> None:
        if name in self.current:
            log.warning("%s has no %s any more: it is no longer asked", name, CHAMPION)
            self.current = MappingProxyType({n: m for n, m in self.current.items() if n != name})
            self._on_change(self.current)
            self._copies.forget(name)

    def _run(self) -> None:
        champions: Champions | None = None
        while not self._stop.is_set():
            try:
                champions = champions or self._connect()
                self.look(champions)
                self._is_away = False
            except DependencyError as error:
                if not self._is_away:
                    log.warning("%s; the models in use stay: %s", error, self._versions() or "none")
                self._is_away = True
            except Exception:  # the thread's edge: a look that fails must not be the last one
                log.exception("looking for champions failed; the models in use stay")
            self.first_look.set()
            self._stop.wait(self._poll_s)

    def _versions(self) -> str:
        return ", ".join(f"{m.name} {m.version}" for m in self.current.values())


def mlflow_watch(settings: Settings, *, on_change: Callable[[Mapping[str, ScoringModel]], None]) -> ModelWatch:
    """A watch on the settings' MLflow with copies under their home; not started."""
    return ModelWatch(
        ModelCopies(settings.home / "models"),
        lambda: MlflowChampions(settings.mlflow_uri),
        poll_s=settings.serving.model_poll_s,
        on_change=on_change,
    )


def _cause(error: Exception) -> str:
    """The end of MLflow's long messages, which is what happened."""
    return str(error).rpartition("Caused by ")[2].rstrip(")")


def _checked(model: ScoringModel, place: Path) -> ScoringModel:
    check(model, model_features(model.name))
    check_golden(model, place)
    return model

"""Which models answer: MLflow's champions, followed in the background, swapped between two requests.

The challengers, and the online learner's versions, are followed likewise while an experiment asks for them.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from feature_repo.services import model_features, service_name
from firstmile.errors import DataError, DependencyError
from firstmile.names import CHALLENGER, CHAMPION, ONLINE_MODEL, RANKER
from firstmile.settings import Settings
from firstmile.vocabulary import MODELS
from serving.arms import ONLINE_LEARNER
from serving.golden import check_golden
from serving.mlflow_champions import MlflowChampions
from serving.model_copies import Champion, ModelCopies, load
from serving.models import ScoringModel, check
from serving.ranker_check import SERVICE, check_ranker
from serving.row_time import check_row_time

log = logging.getLogger(__name__)
SERVED: Final = (*MODELS, RANKER)
MAX_ROW_MS: Final = 20.0
NONE: Final[Mapping[str, ScoringModel]] = MappingProxyType({})


class Champions(Protocol):
    """Where champions are named and fetched: MLflow, or a fake."""

    def champion(self, name: str, alias: str = CHAMPION) -> Champion | None:
        """The version an alias stands at, None when the alias was taken away.

        Raises DataError when the model is not known at all, DependencyError when it cannot be asked.
        """
        ...

    def fetch(self, champion: Champion, folder: Path) -> None:
        """Put the model's files into a folder. Raises DependencyError when it cannot."""
        ...


class ModelWatch:
    """The models in use. `current` (the champions) and `challengers` are replaced whole, so that a request sees one
    set from beginning to end.

    kinds
        Of the arms there are, asked at every look: what none of them needs is not followed.
    max_row_ms
        A version that takes longer for one row is refused.
    """

    def __init__(
        self,
        copies: ModelCopies,
        connect: Callable[[], Champions],
        *,
        poll_s: float,
        on_change: Callable[[Mapping[str, ScoringModel]], None] = lambda models: None,
        kinds: Callable[[], Collection[str]] = tuple,
        max_row_ms: float = MAX_ROW_MS,
    ) -> None:
        self.current: Mapping[str, ScoringModel] = NONE
        self.challengers: Mapping[str, ScoringModel] = NONE
        self._by_kind: Mapping[str, Mapping[str, ScoringModel]] = {}
        self.first_look = threading.Event()
        self._on_change = on_change
        self._kinds = kinds
        self._max_row_ms = max_row_ms
        self._copies = copies
        self._connect = connect
        self._poll_s = poll_s
        self._refused: dict[tuple[str, str], Champion] = {}
        self._said: dict[tuple[str, str], str] = {}
        self._is_away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="champions", daemon=True)

    def models(self, kind: str) -> Mapping[str, ScoringModel]:
        """The models that may answer in an arm of this kind: a task without a challenger is its champion's."""
        return self._by_kind.get(kind, self.current)

    def start(self) -> None:
        """Load the copies of last time, then follow the aliases in the background."""
        for alias, name in self._followed():
            self._begin(alias, name)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether aliases are still followed."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Follow no longer."""
        self._stop.set()

    def look(self, champions: Champions) -> None:
        """One look at every alias; takes what is new and sound. Raises DependencyError when MLflow is away."""
        followed = self._followed()
        for name in self.challengers.keys() - {name for alias, name in followed if alias == CHALLENGER}:
            self._put(CHALLENGER, name, None)
        for alias, name in followed:
            try:
                champion = champions.champion(name, alias)
                if champion is None:
                    self._withdraw(alias, name)
                elif _same(self._models(alias), champion) is None and self._refused.get((alias, name)) != champion:
                    self._take(champions, champion, alias=alias)
            except DataError:  # an empty MLflow is no order to forget what works
                continue
            except DependencyError:
                raise
            except Exception:  # a model's edge: what is wrong with one must not keep the others from being followed
                log.exception("looking for the %s of %s failed; what is in use stays", alias, name)

    def _begin(self, alias: str, name: str) -> None:
        """Load a copy of last time; a damaged one is removed, so that it is fetched again."""
        try:
            try:
                last = self._copies.last(name, alias)
                if last is not None:
                    self._put(alias, name, _checked(*last))
            except DataError as error:
                log.warning("starting without the copy of %s: %s", name, error)
                self._copies.drop_last(name, alias)
        except Exception:  # a model's edge: the others start, and what is wrong may not be the copy
            log.exception("starting without the copy of %s", name)

    def _followed(self) -> list[tuple[str, str]]:
        """(alias, model) of what champions and the arms there are need."""
        kinds = self._kinds()
        names = [*(SERVED if CHALLENGER in kinds else ()), *((ONLINE_MODEL,) if ONLINE_LEARNER in kinds else ())]
        return [(CHAMPION, name) for name in SERVED] + [(CHALLENGER, name) for name in names]

    def _take(self, champions: Champions, champion: Champion, *, alias: str) -> None:
        try:
            with self._copies.checking(champion.name):
                self._answer(self._sound(champions, champion), champion, alias)
        except (DependencyError, OSError) as error:  # says nothing of the version: tried again at the next look
            self._say_once(champion, alias, error)
            return
        except DataError as error:
            self._refuse(champion, alias, error)
        except Exception as error:  # a version's edge: it is refused like any other that cannot be checked
            log.exception("%s version %s cannot be checked", champion.name, champion.version)
            self._refuse(champion, alias, error)
        self._copies.tidy(champion.name)

    def _answer(self, model: ScoringModel, champion: Champion, alias: str) -> None:
        self._put(alias, champion.name, model)
        self._said.pop((alias, champion.name), None)
        try:
            self._copies.use(champion, alias)
        except OSError as error:
            log.warning("%s version %s answers, but not after a restart: %s", champion.name, champion.version, error)
        log.info("%s version %s answers now as %s", champion.name, champion.version, alias)

    def _sound(self, champions: Champions, champion: Champion) -> ScoringModel:
        """The model of a version, fetched and checked.

        Raises DataError when it cannot be served, OSError when its files were taken away meanwhile.
        """
        given = SERVICE if champion.name == RANKER else service_name(champion.name)
        if champion.features_of not in ("", given):
            raise DataError(f"it reads {champion.features_of}, this code gives {given}")
        place = self._copies.keep(champion, lambda folder: champions.fetch(champion, folder))
        model = _same(self.current, champion) or _same(self.challengers, champion)
        if model is None:
            try:
                model = _checked(champion, place)
            except DataError as error:
                if place.is_dir():
                    raise
                raise FileNotFoundError(f"the copy {place} vanished while it was checked") from error
            check_row_time(model, max_ms=self._max_row_ms)
        return model

    def _refuse(self, champion: Champion, alias: str, why: Exception) -> None:
        self._refused[alias, champion.name] = champion
        self._copies.forgo(champion)
        stays = self._models(alias).get(champion.name)
        log.error(
            "%s version %s is refused, %s: %s",
            champion.name,
            champion.version,
            f"version {stays.version} stays" if stays else "there is none to fall back on",
            why if isinstance(why, DataError) else repr(why),
        )

    def _say_once(self, champion: Champion, alias: str, why: Exception) -> None:
        if self._said.get((alias, champion.name)) != str(why):
            log.warning("%s version %s is not taken yet: %s", champion.name, champion.version, why)
        self._said[alias, champion.name] = str(why)

    def _models(self, alias: str) -> Mapping[str, ScoringModel]:
        return self.challengers if alias == CHALLENGER else self.current

    def _put(self, alias: str, name: str, model: ScoringModel | None) -> None:
        others = {n: m for n, m in self._models(alias).items() if n != name}
        self._set(alias, MappingProxyType(others if model is None else {**others, name: model}))

    def _set(self, alias: str, models: Mapping[str, ScoringModel]) -> None:
        if alias == CHALLENGER:
            self.challengers = models
        else:
            self.current = models
            self._on_change(models)
        learned = {n: m for n, m in self.challengers.items() if n == ONLINE_MODEL}
        self._by_kind = {
            CHALLENGER: MappingProxyType({**self.current, **self.challengers}),
            ONLINE_LEARNER: MappingProxyType({**self.current, **learned}),
        }

    def _withdraw(self, alias: str, name: str) -> None:
        if name in self._models(alias):
            log.warning("%s has no %s any more: it is no longer asked", name, alias)
            self._put(alias, name, None)
            self._copies.forget(name, alias)

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


def mlflow_watch(
    settings: Settings,
    *,
    on_change: Callable[[Mapping[str, ScoringModel]], None],
    kinds: Callable[[], Collection[str]],
) -> ModelWatch:
    """A watch on the settings' MLflow with copies under their home; not started."""
    return ModelWatch(
        ModelCopies(settings.home / "models"),
        lambda: MlflowChampions(settings.mlflow_uri),
        poll_s=settings.serving.model_poll_s,
        on_change=on_change,
        kinds=kinds,
        max_row_ms=settings.serving.model_row_ms,
    )


def _checked(champion: Champion, place: Path) -> ScoringModel:
    model = load(champion, place)
    if model.name == RANKER:
        check_ranker(model, place)
    else:
        check(model, model_features(model.name))
        check_golden(model, place)
        log.debug("%s is asked %s", model.name, "on the loop" if model.is_quick else "in a thread")  # measured here
    return model


def _same(models: Mapping[str, ScoringModel], champion: Champion) -> ScoringModel | None:
    """The model of these that is this very version, if any."""
    model = models.get(champion.name)
    return model if model and (model.version, model.run_id) == (champion.version, champion.run_id) else None

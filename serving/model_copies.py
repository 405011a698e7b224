"""Copies of champions on local disk: what a process starts from when MLflow is away.

models/<name>/champion              the folder in use under this alias, by name; challenger likewise
models/<name>/champion.before       the one before it, kept so that going back needs no download
models/<name>/<version>-<run>/      the downloaded model, and champion.json: what MLflow said of it
models/.<name>.lock                 held, together with others, while a copy is fetched, checked and named; alone, while
                                    copies that nothing names are removed
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson

from firstmile.calibration import FILE, NONE, read_calibration
from firstmile.durable import to_disk
from firstmile.errors import DataError
from firstmile.names import CHALLENGER, CHAMPION, ONLINE_MODEL
from serving.models import ScoringModel, prepare
from serving.online_model import load_online_model

ALIASES: Final = (CHAMPION, CHALLENGER)
"""The aliases serving follows."""
BEFORE: Final = ".before"
SAID = "champion.json"
CALIBRATION = f"extra_files/{FILE}"
"""Beside the booster; a model without it gives probabilities as it is."""

STUMBLES: Final = (ValueError, TypeError, AttributeError, LookupError, AssertionError)
"""What MLflow and XGBoost raise over an MLmodel that is empty, cut or zeroed: they read it unchecked."""


@dataclass(frozen=True)
class Champion:
    """What MLflow says of a model's version.

    features_of
        Its feature service.
    """

    name: str
    version: str
    run_id: str
    features_of: str = ""
    min_onboarding_days: float = 0.0
    gated_without: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Folder of its copy; the run keeps version 1 of one MLflow apart from version 1 of another."""
        return f"{self.version}-{self.run_id[:8]}"


class ModelCopies:
    """The folder of copies. Several workers may share it: a copy appears whole or not at all, and stays while it is
    checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def checking(self, name: str) -> Iterator[None]:
        """While this lasts no worker removes a copy of the model: from `keep` until `use`."""
        with self._lock(name) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def keep(self, champion: Champion, download: Callable[[Path], None]) -> Path:
        """The copy's folder, downloaded into it unless it is there already."""
        place = self.folder / champion.name / champion.folder
        if place.is_dir():
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".coming-", dir=place.parent))
        try:
            download(temporary)
            (temporary / SAID).write_bytes(orjson.dumps(asdict(champion)))
            for path in [*temporary.rglob("*"), temporary]:
                to_disk(path)
            try:
                temporary.rename(place)
            except OSError:
                if not place.is_dir():  # else another worker was faster, with the same files
                    raise
            to_disk(place.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return place

    def use(self, champion: Champion, alias: str = CHAMPION) -> None:
        """Start from this copy next time."""
        folder = self.folder / champion.name
        in_use = _pointed(folder / alias)
        if in_use not in (None, champion.folder):
            _point(folder / f"{alias}{BEFORE}", str(in_use))
        _point(folder / alias, champion.folder)

    def tidy(self, name: str) -> None:
        """Remove the copies that no alias has or had before; left for another time while any worker checks one."""
        folder = self.folder / name
        if not folder.is_dir():
            return
        with self._alone(name) as is_alone:
            if not is_alone:
                return
            kept = {_pointed(folder / f"{a}{which}") for a in ALIASES for which in ("", BEFORE)}
            for place in folder.iterdir():
                if place.is_dir() and place.name not in kept and not place.name.startswith("."):
                    shutil.rmtree(place, ignore_errors=True)

    def forget(self, name: str, alias: str = CHAMPION) -> None:
        """Start without this model next time."""
        (self.folder / name / alias).unlink(missing_ok=True)

    def forgo(self, champion: Champion) -> None:
        """Do not keep a copy for going back; one that an alias has stays: another worker answers with it."""
        for alias in ALIASES:
            before = self.folder / champion.name / f"{alias}{BEFORE}"
            if _pointed(before) == champion.folder:
                before.unlink(missing_ok=True)

    def drop_last(self, name: str, alias: str = CHAMPION) -> None:
        """Remove the copy in use last time; left where it is while any worker checks one."""
        with self._alone(name) as is_alone:
            if is_alone and (place := _pointed(self.folder / name / alias)):
                shutil.rmtree(self.folder / name / place, ignore_errors=True)
            if is_alone:
                self.forget(name, alias)

    def last(self, name: str, alias: str = CHAMPION) -> tuple[Champion, Path] | None:
        """The copy in use last time, None without one. Raises DataError when it is damaged."""
        pointer = self.folder / name / alias
        if not pointer.exists():
            return None
        named = _pointed(pointer)
        if named is None:
            raise DataError(f"{pointer} does not name a copy of {name}; delete it")
        place = pointer.with_name(named)
        return (_said(place), place) if place.is_dir() else None

    def version(self, name: str, version: str) -> tuple[Champion, Path] | None:
        """The copy of a version; None without one, or with two: of which MLflow is not known.

        Raises DataError when it is damaged.
        """
        places = [p for p in (self.folder / name).glob(f"{version}-*") if (p / SAID).exists()]
        return (_said(places[0]), places[0]) if len(places) == 1 else None

    @contextmanager
    def _alone(self, name: str) -> Iterator[bool]:
        """Whether no worker checks a copy of the model, for as long as this lasts."""
        with self._lock(name) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _lock(self, name: str) -> IO[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return (self.folder / f".{name}.lock").open("ab")


def _said(place: Path) -> Champion:
    try:
        said: dict[str, Any] = orjson.loads((place / SAID).read_bytes())
        return Champion(**{**said, "gated_without": tuple(said["gated_without"])})
    except (ValueError, TypeError, KeyError, FileNotFoundError) as error:
        raise DataError(f"the copy {place} is damaged, {SAID}: {error!r}; delete it") from error


def load(champion: Champion, place: Path) -> ScoringModel:
    """The model of a copy, ready to score. Raises DataError when it is none, or its calibration is damaged."""
    if champion.name == ONLINE_MODEL:
        return _scoring(champion, load_online_model(place), place)
    import mlflow.xgboost  # 2 s, and never needed where models are given
    from mlflow.exceptions import MlflowException
    from yaml import YAMLError

    try:
        loaded = mlflow.xgboost.load_model(str(place))
    except (MlflowException, YAMLError, FileNotFoundError, *STUMBLES) as error:
        first = str(error).partition("\n")[0]
        raise DataError(f"{place} holds no model that MLflow's xgboost flavour can load: {first}") from error
    return _scoring(champion, prepare(loaded.get_booster() if hasattr(loaded, "get_booster") else loaded), place)


def _scoring(champion: Champion, booster: Any, place: Path) -> ScoringModel:
    beside = place / CALIBRATION
    return ScoringModel(
        name=champion.name,
        version=champion.version,
        run_id=champion.run_id,
        booster=booster,
        features=tuple(booster.feature_names or ()),
        min_onboarding_days=champion.min_onboarding_days,
        gated_without=frozenset(champion.gated_without),
        calibration=read_calibration(beside.read_bytes()) if beside.exists() else NONE,
    )


def _pointed(pointer: Path) -> str | None:
    """The folder a pointer names; None without one, and for one that names none: cut short, or not written by us."""
    try:
        named = pointer.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    is_name = named not in ("", "..") and named == Path(named).name and named.isprintable()
    return named if is_name else None


def _point(pointer: Path, folder: str) -> None:
    temporary = pointer.with_name(f".{pointer.name}.{os.getpid()}")  # one each: workers point at the same time
    temporary.write_text(folder)
    to_disk(temporary)
    temporary.replace(pointer)
    to_disk(pointer.parent)

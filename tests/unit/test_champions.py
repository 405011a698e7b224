"""The watch over champions where copies, pointers or versions are damaged: each is left out alone, and said."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving_builder import booster

from feature_repo.content_features import RANKER_FEATURES
from feature_repo.services import model_features
from firstmile.errors import DataError, DependencyError
from firstmile.names import CHALLENGER, CHAMPION, RANKER
from serving.champions import Champions, ModelWatch
from serving.golden import GOLDEN
from serving.model_copies import SAID, Champion, ModelCopies
from serving.models import ScoringModel, prepare
from serving.ranker_check import check_ranker

MLMODEL = "flavors:\n  xgboost: {data: model.ubj, model_class: xgboost.core.Booster, model_format: ubj}\n"
FOLLOWED = ("activation", "disengagement")
PLACE = "1-r1"


@dataclass
class Named:
    """An MLflow: the version each alias stands at, golden rows of some versions, and what is wrong with fetching."""

    versions: dict[tuple[str, str], str]
    golden: Mapping[tuple[str, str], pa.Table] = field(default_factory=dict)
    trouble: dict[str, Exception] = field(default_factory=dict)
    n_fetched: int = 0

    def champion(self, name: str, alias: str = CHAMPION) -> Champion | None:
        """As agreed."""
        if (name, alias) not in self.versions:
            raise DataError("no such model")
        version = self.versions[name, alias]
        return Champion(name, version, f"r{version}")

    def fetch(self, champion: Champion, folder: Path) -> None:
        """The files of a small real model."""
        self.n_fetched += 1
        if champion.name in self.trouble:
            raise self.trouble[champion.name]
        save(champion.name, folder)
        if (champion.name, champion.version) in self.golden:
            pq.write_table(self.golden[champion.name, champion.version], folder / GOLDEN)


def save(name: str, folder: Path) -> None:
    booster(name, tuple(model_features(name))).save_model(folder / "model.ubj")
    (folder / "MLmodel").write_text(MLMODEL)


def away() -> Champions:
    raise DependencyError("MLflow is away")


def watch(folder: Path, copies: ModelCopies | None = None, **changes: Any) -> ModelWatch:
    return ModelWatch(copies or ModelCopies(folder), away, poll_s=3_600, **changes)


def named(version: str = "1", **changes: Any) -> Named:
    return Named({(name, CHAMPION): version for name in FOLLOWED}, **changes)


def golden(prediction: Any, of: type = float) -> pa.Table:
    kind = pa.float64() if of is float else pa.string()
    return pa.table({"clicks_total_count": pa.array([None], kind), "prediction": pa.array([prediction], kind)})


def in_folder(name: str, data: bytes) -> Callable[[Path], Any]:
    """Damage to a file of the copy."""
    return lambda place: (place / name).write_bytes(data)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "an empty pointer": lambda place: (place.parent / CHAMPION).write_bytes(b""),
    "a pointer of other bytes": lambda place: (place.parent / CHAMPION).write_bytes(b"\xff\xfe"),
    "a pointer of NULs": lambda place: (place.parent / CHAMPION).write_bytes(b"\0" * 8),
    "a pointer out of the folder": lambda place: (place.parent / CHAMPION).write_text(".."),
    "an empty MLmodel": in_folder("MLmodel", b""),
    "an MLmodel of NULs": in_folder("MLmodel", b"\0" * 200),
    "a cut MLmodel": in_folder("MLmodel", MLMODEL[:20].encode()),
    "an MLmodel of another form": in_folder("MLmodel", b"flavors: [xgboost]"),
    "a cut booster": lambda place: (place / "model.ubj").write_bytes((place / "model.ubj").read_bytes()[:200]),
    "an empty booster": in_folder("model.ubj", b""),
    "a cut note": in_folder(SAID, b"{"),
    "no note": lambda place: (place / SAID).unlink(),
    "golden rows of text": lambda place: pq.write_table(golden("high", str), place / GOLDEN),
    "a golden row that says nothing": lambda place: pq.write_table(golden(None), place / GOLDEN),
    "golden rows of no form": in_folder(GOLDEN, b"PAR1"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_copy_is_left_out_at_the_start_and_fetched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], Any]
) -> None:
    watch(tmp_path).look(named())
    damage(tmp_path / "activation" / PLACE)
    cold = watch(tmp_path)
    cold.start()
    cold.stop()
    assert cold.current.keys() == {"disengagement"}
    assert "starting without the copy of activation" in caplog.text
    again = named()
    cold.look(again)
    assert cold.current.keys() == {*FOLLOWED}
    next_one = watch(tmp_path)
    next_one.start()
    next_one.stop()
    assert next_one.current.keys() == {*FOLLOWED}


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files")])
def test_trouble_that_is_no_copys_fault_leaves_the_copies_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any) -> ScoringModel:
        raise error

    watch(tmp_path).look(named())
    with monkeypatch.context() as patch:
        patch.setattr("serving.champions.load", fails)
        cold = watch(tmp_path)
        cold.start()
        cold.stop()
    assert cold.current == {}
    next_one = watch(tmp_path)
    next_one.start()
    next_one.stop()
    assert next_one.current.keys() == {*FOLLOWED}


@pytest.mark.parametrize("bad", [golden(None), golden("high", str), golden(np.nan)], ids=["null", "text", "NaN"])
def test_a_version_whose_golden_rows_are_no_numbers_is_refused_and_later_models_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: pa.Table
) -> None:
    on, champions = watch(tmp_path), named(golden={("activation", "1"): bad})
    on.look(champions)
    assert on.current.keys() == {"disengagement"}
    assert "activation version 1 is refused" in caplog.text
    caplog.clear()
    on.look(champions)
    assert (caplog.text, champions.n_fetched) == ("", 2)  # said once and not fetched again
    champions.versions["activation", CHAMPION] = "2"
    on.look(champions)
    assert on.current["activation"].version == "2"


@pytest.mark.parametrize("bad", [None, "high"])
def test_a_ranker_whose_golden_rows_are_no_numbers_is_refused(tmp_path: Path, bad: str | None) -> None:
    rows: dict[str, list[Any]] = {name: [0.5] for name in RANKER_FEATURES}
    pq.write_table(pa.table({**rows, "prediction": pa.array([bad], pa.string())}), tmp_path / GOLDEN)
    model = ScoringModel(RANKER, "1", "r1", prepare(booster(RANKER, RANKER_FEATURES)), RANKER_FEATURES)
    with pytest.raises(DataError, match=f"{RANKER} 1"):
        check_ranker(model, tmp_path)


def test_a_version_that_fails_in_a_way_nobody_thought_of_is_refused_and_later_models_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    on, champions = watch(tmp_path), named(trouble={"activation": RuntimeError("odd")})
    for _ in range(2):
        on.look(champions)
    assert on.current.keys() == {"disengagement"}
    assert caplog.text.count("activation version 1 is refused, there is none to fall back on: RuntimeError('odd')") == 1


@pytest.mark.parametrize("trouble", [DependencyError("no such artifact"), OSError(28, "disk full")], ids=repr)
def test_a_version_that_cannot_be_fetched_now_holds_no_later_model_up_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    on, champions = watch(tmp_path), named(trouble={"activation": trouble})
    for _ in range(2):
        on.look(champions)
    assert on.current.keys() == {"disengagement"}
    assert caplog.text.count("activation version 1 is not taken yet") == 1
    champions.trouble.clear()
    on.look(champions)
    assert on.current.keys() == {*FOLLOWED}


def test_an_alias_that_cannot_be_read_holds_no_later_model_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Named):
        def champion(self, name: str, alias: str = CHAMPION) -> Champion | None:
            return Champion(name, "1", "r1", min_onboarding_days=float("soon" if name == "activation" else 0))

    caplog.set_level(logging.ERROR)
    on = watch(tmp_path)
    on.look(Odd({}))
    assert "disengagement" in on.current
    assert "looking for the champion of activation failed" in caplog.text


class Interrupted(ModelCopies):
    """Copies of a worker in which something else happens right after a copy was kept, once."""

    meanwhile: Callable[[Path], object] | None = None

    def keep(self, champion: Champion, download: Callable[[Path], None]) -> Path:
        """As usual, and then that."""
        place = super().keep(champion, download)
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens(place)
        return place


def challenged(folder: Path, copies: ModelCopies | None = None) -> tuple[ModelWatch, Named]:
    """A worker that answers with champion 1, and an MLflow in which 3 is now the challenger."""
    on = watch(folder, copies, kinds=lambda: (CHALLENGER,))
    champions = named()
    on.look(champions)
    champions.versions["activation", CHALLENGER] = "3"
    return on, champions


def test_a_copy_that_one_worker_checks_is_not_removed_by_another_that_takes_a_champion(tmp_path: Path) -> None:
    copies, other = Interrupted(tmp_path), watch(tmp_path)
    on, champions = challenged(tmp_path, copies)
    copies.meanwhile = lambda place: other.look(named("2"))
    on.look(champions)
    assert other.current["activation"].version == "2"
    assert on.challengers["activation"].version == "3"
    assert places(tmp_path) == ["1-r1", "2-r2", "3-r3"]  # 1 for going back


def test_a_copy_that_vanished_while_it_was_checked_is_no_refusal(tmp_path: Path) -> None:
    copies = Interrupted(tmp_path)
    on, champions = challenged(tmp_path, copies)
    copies.meanwhile = shutil.rmtree
    on.look(champions)
    assert not on.challengers
    on.look(champions)
    assert on.challengers["activation"].version == "3"


def test_what_one_worker_refuses_stays_for_another_that_answers_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch(tmp_path).look(named())
    watch(tmp_path, max_row_ms=0).look(named())
    assert "activation version 1 is refused" in caplog.text
    cold = watch(tmp_path)
    cold.start()
    cold.stop()
    assert cold.current.keys() == {*FOLLOWED}


def test_what_is_refused_and_nobody_answers_with_is_removed_though_it_was_kept_for_going_back(tmp_path: Path) -> None:
    on = watch(tmp_path)
    for version in ("1", "2"):
        on.look(named(version))
    (tmp_path / "activation" / PLACE / "model.ubj").write_bytes(b"damaged")
    on.look(named("1"))
    assert on.current["activation"].version == "2"
    assert places(tmp_path) == ["2-r2"]
    cold = watch(tmp_path)
    cold.look(named("1"))
    assert cold.current["activation"].version == "1"


def test_copies_that_no_alias_has_or_had_before_are_removed(tmp_path: Path) -> None:
    on = watch(tmp_path)
    for version in ("1", "2", "3"):
        on.look(named(version))
    assert places(tmp_path) == ["2-r2", "3-r3"]


def places(folder: Path) -> list[str]:
    """The copies of activation there are."""
    return sorted(path.name for path in (folder / "activation").iterdir() if path.is_dir())

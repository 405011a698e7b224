"""Challengers from a real MLflow beside the champions: followed while wanted, swapped, kept, never downloaded twice."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pytest
from model_lab import Lab

from firstmile.errors import DependencyError
from firstmile.names import CHALLENGER, CHAMPION
from serving.champions import Champions, MlflowChampions, ModelWatch
from serving.model_copies import Champion, ModelCopies


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with three versions of activation, the first champion and the second challenger, and a disengagement."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # a store without a server keeps artifacts beside the process
        lab = Lab(f"sqlite:///{folder / 'mlflow.db'}", folder)
        for seed in range(3):
            lab.register(seed=seed)
        lab.promote("activation", "1")
        lab.promote("activation", "2", CHALLENGER)
        lab.register("disengagement")
        yield folder / "mlflow.db"
    mlflow.set_tracking_uri(None)


@dataclass
class Counting:
    """The champions of a real MLflow, counting what is downloaded."""

    real: MlflowChampions
    fetched: list[str] = field(default_factory=list)

    def champion(self, name: str, alias: str = CHAMPION) -> Champion | None:
        """As MLflow says."""
        return self.real.champion(name, alias)

    def fetch(self, champion: Champion, folder: Path) -> None:
        """As MLflow gives it."""
        self.fetched.append(f"{champion.name} {champion.version}")
        self.real.fetch(champion, folder)


@pytest.fixture
def lab(template: Path, tmp_path: Path) -> Lab:
    return Lab(f"sqlite:///{shutil.copy(template, tmp_path)}", tmp_path)


@pytest.fixture
def champions(lab: Lab) -> Counting:
    return Counting(MlflowChampions(lab.uri))


def nobody() -> Champions:
    raise DependencyError("MLflow is away")


def watch(folder: Path, *, wanted: list[bool] | None = None, max_row_ms: float = 1_000.0) -> ModelWatch:
    wants = [True] if wanted is None else wanted
    copies = ModelCopies(folder / "models")
    return ModelWatch(copies, nobody, poll_s=3600, wants_challengers=lambda: wants[-1], max_row_ms=max_row_ms)


def versions(on: ModelWatch, kind: str) -> dict[str, str]:
    return {name: model.version for name, model in on.models(kind).items()}


def test_challenger_answers_in_its_arm_alone_and_the_champion_where_there_is_none(
    champions: Counting, tmp_path: Path
) -> None:
    on = watch(tmp_path)
    on.look(champions)
    assert versions(on, CHAMPION) == {"activation": "1", "disengagement": "1"}
    assert versions(on, CHALLENGER) == {"activation": "2", "disengagement": "1"}
    assert on.models(CHALLENGER)["disengagement"] is on.models(CHAMPION)["disengagement"]


def test_challengers_are_followed_only_while_an_experiment_wants_them(champions: Counting, tmp_path: Path) -> None:
    wanted = [False]
    on = watch(tmp_path, wanted=wanted)
    on.look(champions)
    assert versions(on, CHALLENGER) == versions(on, CHAMPION)
    assert "activation 2" not in champions.fetched
    for want, expected in ((True, "2"), (False, "1"), (True, "2")):
        wanted.append(want)
        on.look(champions)
        assert versions(on, CHALLENGER)["activation"] == expected
    assert champions.fetched.count("activation 2") == 1


def test_moved_and_withdrawn_challenger_leaves_the_champion_alone(
    lab: Lab, champions: Counting, tmp_path: Path
) -> None:
    on = watch(tmp_path)
    on.look(champions)
    champion = on.current["activation"]
    lab.promote("activation", "3", CHALLENGER)
    on.look(champions)
    assert versions(on, CHALLENGER)["activation"] == "3"
    lab.withdraw("activation", CHALLENGER)
    on.look(champions)
    assert on.models(CHALLENGER)["activation"] is on.current["activation"] is champion


def test_promoted_challenger_is_the_one_that_is_loaded_already(lab: Lab, champions: Counting, tmp_path: Path) -> None:
    on = watch(tmp_path)
    on.look(champions)
    challenger = on.challengers["activation"]
    lab.promote("activation", "2")
    on.look(champions)
    assert on.current["activation"] is challenger
    assert champions.fetched.count("activation 2") == 1


def test_rollback_needs_no_download_whatever_the_challenger_did_meanwhile(
    lab: Lab, champions: Counting, tmp_path: Path
) -> None:
    on = watch(tmp_path)
    on.look(champions)
    lab.promote("activation", "2")
    on.look(champions)
    lab.promote("activation", "3", CHALLENGER)
    on.look(champions)
    n = len(champions.fetched)
    lab.promote("activation", "1")
    on.look(champions)
    assert versions(on, CHAMPION)["activation"] == "1"
    assert len(champions.fetched) == n


def test_version_too_slow_for_a_row_is_refused_with_the_figures(
    lab: Lab, champions: Counting, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch(tmp_path).look(champions)
    lab.promote("activation", "3")
    strict = watch(tmp_path, max_row_ms=1e-9)
    strict.look(champions)
    assert not strict.current
    assert "activation version 3 is refused" in caplog.text
    assert "ms for one row, 1e-09 are allowed (FIRSTMILE_SERVING__MODEL_ROW_MS)" in caplog.text


def test_start_without_mlflow_has_champion_and_challenger_of_last_time(champions: Counting, tmp_path: Path) -> None:
    watch(tmp_path).look(champions)
    cold = watch(tmp_path)
    cold.start()
    cold.stop()
    assert versions(cold, CHAMPION) == {"activation": "1", "disengagement": "1"}
    assert versions(cold, CHALLENGER)["activation"] == "2"


def test_damaged_challenger_costs_its_own_copy_alone(champions: Counting, tmp_path: Path) -> None:
    watch(tmp_path).look(champions)
    (place,) = (tmp_path / "models" / "activation").glob("2-*")
    (place / "model.ubj").write_bytes(b"damaged")
    cold = watch(tmp_path)
    cold.start()
    cold.stop()
    assert versions(cold, CHALLENGER) == versions(cold, CHAMPION) == {"activation": "1", "disengagement": "1"}
    n = len(champions.fetched)
    cold.look(champions)
    assert versions(cold, CHALLENGER)["activation"] == "2"
    assert champions.fetched[n:] == ["activation 2"]

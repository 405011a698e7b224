"""Challengers from a real MLflow beside the champions: followed while wanted, swapped, kept, never downloaded twice."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pytest
from model_lab import Lab

from feature_repo.services import model_features
from firstmile.errors import DependencyError
from firstmile.names import CHALLENGER, CHAMPION, ONLINE_MODEL
from serving.arms import ONLINE_LEARNER
from serving.champions import Champions, ModelWatch
from serving.mlflow_champions import MlflowChampions
from serving.model_copies import Champion, ModelCopies
from training.online_models import fresh
from training.online_register import Offer, register_offer


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


def watch(folder: Path, *, kinds: list[str] | None = None, max_row_ms: float = 1_000.0) -> ModelWatch:
    asked = [CHALLENGER] if kinds is None else kinds
    return ModelWatch(
        ModelCopies(folder / "models"), nobody, poll_s=3600, kinds=lambda: {asked[-1]}, max_row_ms=max_row_ms
    )


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
    kinds = [CHAMPION]
    on = watch(tmp_path, kinds=kinds)
    on.look(champions)
    assert versions(on, CHALLENGER) == versions(on, CHAMPION)
    assert "activation 2" not in champions.fetched
    for kind, expected in ((CHALLENGER, "2"), (CHAMPION, "1"), (CHALLENGER, "2")):
        kinds.append(kind)
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
    strict.start()
    strict.stop()
    strict.look(champions)
    assert versions(strict, CHAMPION)["activation"] == "1"  # which was fast enough when it came
    assert "activation version 3 is refused, version 1 stays" in caplog.text
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


def test_online_learner_is_followed_for_its_arm_and_says_what_it_learned(
    lab: Lab, champions: Counting, tmp_path: Path
) -> None:
    names = model_features("activation")
    learner = fresh(seed=1)["logistic"]
    for n in range(50):
        learner.learn({"clicks_total_count": float(n)}, n > 25)
    offered = Offer("learner", 50, "logistic", learner.document(names), {"logistic": {"log_loss": 0.5}}, {})
    mlflow.set_tracking_uri(lab.uri)
    client = mlflow.MlflowClient(lab.uri)
    version = register_offer(client, client.create_experiment("learner", str(tmp_path / "artifacts")), offered).version
    on = watch(tmp_path, kinds=[ONLINE_LEARNER])
    on.look(champions)
    assert versions(on, ONLINE_LEARNER) == {"activation": "1", "disengagement": "1", ONLINE_MODEL: version}
    assert ONLINE_MODEL not in on.models(CHAMPION)
    said = on.models(ONLINE_LEARNER)[ONLINE_MODEL].probabilities({"clicks_total_count": 40.0})
    assert said == {ONLINE_MODEL: pytest.approx(learner.probability({"clicks_total_count": 40.0}), abs=1e-6)}
    cold = watch(tmp_path, kinds=[ONLINE_LEARNER])
    cold.start()
    cold.stop()
    assert versions(cold, ONLINE_LEARNER)[ONLINE_MODEL] == version

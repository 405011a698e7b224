"""Champions from a real MLflow: followed, checked, refused, kept on disk, started from when MLflow is away."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import mlflow.xgboost
import numpy as np
import pytest
import xgboost as xgb
from model_lab import Lab
from serving_builder import booster

from feature_repo.content_features import RANKER_FEATURES
from feature_repo.services import model_features
from firstmile.errors import DependencyError
from firstmile.names import RANKER
from firstmile.vocabulary import MODELS
from serving.champions import Champions, ModelWatch
from serving.mlflow_champions import MlflowChampions
from serving.model_copies import Champion, ModelCopies

VALUES = {"clicks_total_count": 30.0, "onboarding_age_days": 6.0}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with two versions of activation, the first of them champion: making one takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # a store without a server keeps artifacts beside the process
        lab = Lab(f"sqlite:///{folder / 'mlflow.db'}", folder)
        lab.register()
        lab.register(seed=1)
        lab.promote("activation", "1")
        yield folder / "mlflow.db"
    mlflow.set_tracking_uri(None)


@pytest.fixture
def lab(template: Path, tmp_path: Path) -> Lab:
    return Lab(f"sqlite:///{shutil.copy(template, tmp_path)}", tmp_path)


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., ModelWatch]:
    def make() -> ModelWatch:
        return ModelWatch(ModelCopies(tmp_path / "models"), nobody, poll_s=3600)

    return make


def nobody() -> Champions:
    raise DependencyError("MLflow is away")


def test_champions_are_loaded_and_score_as_they_were_registered(lab: Lab, watch: Callable[..., ModelWatch]) -> None:
    for name in ("disengagement", "skill_level", "preference"):
        lab.register(name, min_onboarding_days="3", gated_without="user_profile")
    on = watch()
    on.look(MlflowChampions(lab.uri))
    assert {n: m.version for n, m in on.current.items()} == dict.fromkeys(MODELS, "1")
    skill = on.current["skill_level"]
    assert list(skill.features) == model_features("skill_level")
    assert (skill.min_onboarding_days, skill.gated_without) == (3, {"user_profile"})
    scores = skill.probabilities(VALUES)
    assert set(scores) == {"skill_level:beginner", "skill_level:intermediate", "skill_level:advanced"}
    expected = booster("skill_level", skill.features).inplace_predict(
        np.array([[VALUES.get(f, np.nan) for f in skill.features]])
    )
    assert list(scores.values()) == pytest.approx(expected[0].tolist())


@pytest.mark.parametrize(
    ("features", "lie", "said"),
    [
        (RANKER_FEATURES, 0.0, None),
        (RANKER_FEATURES[:-1], 0.0, None),  # trained without some
        (RANKER_FEATURES, 0.01, "does not say what it said"),
        ((*RANKER_FEATURES, "shoe_size"), 0.0, "shoe_size"),
    ],
)
def test_a_ranker_is_loaded_where_it_reads_what_serving_makes_and_says_what_it_said(
    lab: Lab,
    watch: Callable[..., ModelWatch],
    caplog: pytest.LogCaptureFixture,
    features: tuple[str, ...],
    lie: float,
    said: str | None,
) -> None:
    rows = np.random.default_rng(1).uniform(0, 1, (40, len(features))).astype(np.float32)
    data = xgb.DMatrix(rows, rows[:, 0] > 0.5, qid=np.zeros(40), feature_names=list(features))
    made = xgb.train({"objective": "rank:ndcg", "max_depth": 2, "nthread": 1}, data, 4)
    scores = np.asarray(made.inplace_predict(rows), np.float64)
    lab.log(RANKER, made, {**dict(zip(features, rows.T, strict=True)), "prediction": scores + lie})
    on = watch()
    on.look(MlflowChampions(lab.uri))
    assert "activation" in on.current
    if said is None:
        assert on.current[RANKER].features == features
        again = watch()
        again.start()
        again.stop()
        assert again.current[RANKER].version == on.current[RANKER].version
    else:
        assert RANKER not in on.current
        assert said in caplog.text


def test_moved_alias_swaps_the_model_and_moving_back_swaps_it_again(lab: Lab, watch: Callable[..., ModelWatch]) -> None:
    on, champions = watch(), MlflowChampions(lab.uri)
    on.look(champions)
    before = on.current
    lab.promote("activation", "2")
    on.look(champions)
    assert on.current["activation"].version == "2"
    assert before["activation"].version == "1"  # a request that began with it ends with it
    assert on.current["activation"].probabilities(VALUES) != before["activation"].probabilities(VALUES)
    lab.promote("activation", "1")
    on.look(champions)
    assert on.current["activation"].version == "1"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"features": ["clicks_total_count", "shoe_size"]}, "shoe_size"),
        ({"lie": 0.01}, "does not say what it said"),
        ({"feature_service": "activation_v9"}, "activation_v9"),
    ],
)
def test_bad_model_is_refused_with_a_reason_and_the_old_one_stays(
    lab: Lab, watch: Callable[..., ModelWatch], caplog: pytest.LogCaptureFixture, bad: dict[str, object], said: str
) -> None:
    on, champions = watch(), MlflowChampions(lab.uri)
    on.look(champions)
    lab.register(seed=1, **bad)  # type: ignore[arg-type]
    on.look(champions)
    assert on.current["activation"].version == "1"
    assert "version 3 is refused, version 1 stays" in caplog.text
    assert said in caplog.text
    caplog.clear()
    on.look(champions)
    assert "refused" not in caplog.text  # said once, not at every look
    lab.promote("activation", "2")
    on.look(champions)
    assert on.current["activation"].version == "2"


def test_binary_booster_under_the_name_of_three_classes_is_refused(
    lab: Lab, watch: Callable[..., ModelWatch], caplog: pytest.LogCaptureFixture
) -> None:
    lab.log("skill_level", booster("activation", tuple(model_features("skill_level"))), {})
    on = watch()
    on.look(MlflowChampions(lab.uri))
    assert "skill_level" not in on.current
    assert "skill_level version 1 is refused" in caplog.text


def test_withdrawn_champion_is_no_longer_asked_nor_started_from(lab: Lab, watch: Callable[..., ModelWatch]) -> None:
    on, champions = watch(), MlflowChampions(lab.uri)
    on.look(champions)
    lab.withdraw("activation")
    on.look(champions)
    assert not on.current
    again = watch()
    again.start()
    again.stop()
    assert not again.current


def test_emptied_mlflow_is_no_order_to_forget(lab: Lab, watch: Callable[..., ModelWatch]) -> None:
    on, champions = watch(), MlflowChampions(lab.uri)
    on.look(champions)
    mlflow.MlflowClient(lab.uri).delete_registered_model("activation")
    on.look(champions)
    assert on.current["activation"].version == "1"


def test_start_without_mlflow_answers_with_the_copies_of_last_time(
    lab: Lab, watch: Callable[..., ModelWatch], caplog: pytest.LogCaptureFixture
) -> None:
    first = watch()
    first.look(MlflowChampions(lab.uri))
    lab.promote("activation", "2")
    first.look(MlflowChampions(lab.uri))
    cold = watch()
    cold.start()
    assert cold.first_look.wait(20)
    cold.stop()
    assert cold.current["activation"].version == "2"
    assert cold.current["activation"].probabilities(VALUES) == first.current["activation"].probabilities(VALUES)
    assert "MLflow is away; the models in use stay: activation 2" in caplog.text


def test_damaged_copy_is_left_out_and_fetched_again(
    lab: Lab, watch: Callable[..., ModelWatch], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = watch()
    first.look(MlflowChampions(lab.uri))
    (place,) = (p for p in (tmp_path / "models" / "activation").iterdir() if p.is_dir())
    (place / "model.ubj").write_bytes(b"damaged")
    cold = watch()
    cold.start()
    cold.stop()
    assert not cold.current
    assert "starting without the copy of activation" in caplog.text
    cold.look(MlflowChampions(lab.uri))
    assert cold.current["activation"].version == "1"


def test_only_the_copies_in_use_and_before_are_kept(lab: Lab, watch: Callable[..., ModelWatch], tmp_path: Path) -> None:
    on, champions = watch(), MlflowChampions(lab.uri)
    lab.register(seed=2)
    for version in ("1", "2", "3"):
        lab.promote("activation", version)
        on.look(champions)
    places = sorted(p.name.partition("-")[0] for p in (tmp_path / "models" / "activation").iterdir() if p.is_dir())
    assert places == ["2", "3"]


def test_watch_follows_in_the_background_and_outlives_an_outage(lab: Lab, tmp_path: Path) -> None:
    is_away = threading.Event()
    is_away.set()

    def connect() -> Champions:
        return nobody() if is_away.is_set() else MlflowChampions(lab.uri)

    changes: list[list[str]] = []
    on = ModelWatch(
        ModelCopies(tmp_path / "models"), connect, poll_s=0.05, on_change=lambda models: changes.append(list(models))
    )
    on.start()
    assert on.first_look.wait(20)
    is_away.clear()
    deadline = time.monotonic() + 20
    while not on.current:
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    on.stop()
    assert changes == [["activation"]]


def test_mlflow_that_does_not_answer_is_said_within_seconds() -> None:
    with pytest.raises(DependencyError, match=r"MLflow at http://127\.0\.0\.1:9 did not answer: .*refused"):
        MlflowChampions("http://127.0.0.1:9").champion("activation")


def test_copy_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    copies, champion = ModelCopies(tmp_path), Champion("activation", "1", "run")

    def breaks(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise DependencyError("MLflow went away")

    with pytest.raises(DependencyError):
        copies.keep(champion, breaks)
    assert list((tmp_path / "activation").iterdir()) == []
    assert copies.last("activation") is None

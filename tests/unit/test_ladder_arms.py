"""The ladder by arms: each acts as its kind says, answers stay in their arm when things fail, and say so truly."""

import asyncio
import time

import numpy as np
import pytest
from serving_builder import NOW_US, Broken, Row, Rows, experiments, ladder, model, models

from firstmile.names import CHALLENGER, CHAMPION, ONLINE_MODEL
from firstmile.vocabulary import MODELS
from serving.answers import Decision
from serving.arms import DEFAULT_FLOW, ONLINE_LEARNER, RULES
from serving.experiments import HOLDOUT, Experiments, Holdout
from serving.ladder import Ladder
from serving.requests import Ask

USER = "AAA_2014J-1"
ALL = (DEFAULT_FLOW, RULES, CHAMPION, CHALLENGER)


def decide(on: Ladder, user_id: str = USER) -> Decision:
    return asyncio.run(on.decide(Ask(user_id, context={"page": "/home"}), started_s=time.perf_counter()))


def shed(on: Ladder) -> Decision:
    return on.shed(Ask(USER), started_s=time.perf_counter())


def test_arm_of_the_default_flow_reads_nothing_and_is_no_fallback() -> None:
    reader = Rows({USER: Row()})
    answer = decide(ladder(reader, drawn_from=experiments(DEFAULT_FLOW))).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("default", False, [])
    assert answer["flow"] == "default"
    assert answer["experiment"] == {"name": "e", "arm": DEFAULT_FLOW, "token": None}
    assert not reader.asked


def test_arm_of_rules_reads_the_row_and_asks_no_model() -> None:
    broken = {name: model(name, booster=Broken(ValueError("asked"))) for name in MODELS}
    reader = Rows({USER: Row()})
    decision = decide(ladder(reader, broken, drawn_from=experiments(RULES)))
    answer = decision.response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("rules", False, [])
    assert (answer["models"], answer["activation_probability"], decision.basis.vector) == ({}, None, {})
    assert "models" not in decision.stage_ms
    assert len(reader.asked) == 1
    assert answer["recommended_content"][0]["url"].startswith("/courses/AAA_2014J/")


def test_arm_of_the_challenger_is_answered_by_its_versions_and_where_there_is_none_by_the_champion() -> None:
    challengers = models("activation", "skill_level", version="7")
    given = Rows({USER: Row()})
    answer = decide(ladder(given, drawn_from=experiments(CHALLENGER), challengers=challengers)).response()
    assert (answer["rung"], answer["fallback"]) == ("model", False)
    assert answer["models"] == {"activation": "7", "disengagement": "1", "skill_level": "7", "preference": "1"}
    answer = decide(ladder(given, drawn_from=experiments(CHAMPION), challengers=challengers)).response()
    assert answer["models"] == dict.fromkeys(MODELS, "1")


class Sure:
    """A booster that always says the same."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def inplace_predict(self, data: object) -> np.ndarray:
        """For one row."""
        return np.array([self.probability], np.float32)


@pytest.mark.parametrize(("probability", "is_flow_of_rule"), [(0.05, True), (0.5, False)])
def test_arm_of_the_online_learner_lets_rules_hear_it_beside_the_champions(
    probability: float, is_flow_of_rule: bool
) -> None:
    learner = model(ONLINE_MODEL, version="9", booster=Sure(probability))
    in_use = {**models(), "disengagement": model("disengagement", booster=Sure(0.1)), ONLINE_MODEL: learner}
    on = ladder(Rows({USER: Row()}), in_use, drawn_from=experiments(ONLINE_LEARNER))
    decision = decide(on)
    assert (decision.basis.rung, decision.is_fallback) == ("model", False)
    assert decision.basis.models == {**dict.fromkeys(MODELS, "1"), ONLINE_MODEL: "9"}
    assert decision.basis.predictions[ONLINE_MODEL] == pytest.approx(probability)
    assert (decision.answer.items[0].reason == "rule:unlikely-to-open") is is_flow_of_rule
    champion = decide(ladder(Rows({USER: Row()}), in_use))
    assert ONLINE_MODEL not in champion.basis.predictions
    assert champion.answer.items[0].reason != "rule:unlikely-to-open"


def test_arm_of_the_online_learner_without_one_is_partial_and_says_so() -> None:
    answer = decide(ladder(Rows({USER: Row()}), drawn_from=experiments(ONLINE_LEARNER))).response()
    assert (answer["rung"], answer["fallback"]) == ("partial", True)
    assert answer["reasons"] == [f"model_missing:{ONLINE_MODEL}"]


@pytest.mark.parametrize(
    ("kind", "is_fallback"), [(DEFAULT_FLOW, False), (RULES, True), (CHAMPION, True), (CHALLENGER, True)]
)
def test_shed_answer_stays_in_its_arm_and_is_a_fallback_where_the_arm_meant_more(kind: str, is_fallback: bool) -> None:
    decision = shed(ladder(Rows(), drawn_from=experiments(kind)))
    assert (decision.assignment.arm, decision.basis.rung, decision.is_fallback) == (kind, "default", is_fallback)


@pytest.mark.parametrize(
    ("kind", "rung", "is_fallback"),
    [(DEFAULT_FLOW, "default", False), (RULES, "rules", False), (CHAMPION, "rules", True), (CHALLENGER, "rules", True)],
)
def test_answer_without_a_store_stays_in_its_arm(kind: str, rung: str, is_fallback: bool) -> None:
    decision = decide(ladder(Rows(error=OSError("gone")), drawn_from=experiments(kind)))
    assert (decision.assignment.arm, decision.basis.rung, decision.is_fallback) == (kind, rung, is_fallback)


def test_every_rung_gives_the_user_the_same_arm() -> None:
    reader = Rows({f"u{n}": Row() for n in range(40)})
    on = ladder(reader, drawn_from=experiments(*ALL))
    well = {user: decide(on, user).assignment for user in reader.rows}
    reader.error = OSError("gone")
    ill = {user: decide(on, user).assignment for user in reader.rows}
    away = {user: on.shed(Ask(user), started_s=time.perf_counter()).assignment for user in reader.rows}
    assert well == ill == away
    assert {a.arm for a in well.values()} == set(ALL)


def test_memory_of_one_arm_does_not_answer_in_another() -> None:
    reader = Rows({USER: Row()})
    drawn = experiments(CHAMPION)
    on = ladder(reader, drawn_from=lambda: drawn)
    decide(on)
    reader.error = OSError("gone")
    assert decide(on).basis.rung == "cached"
    drawn = experiments(CHALLENGER)  # the file was changed
    assert (decide(on).basis.rung, decide(on).basis.predictions) == ("rules", {})


def test_held_out_user_gets_the_default_flow_without_any_read() -> None:
    reader = Rows({USER: Row()})
    on = ladder(reader, drawn_from=experiments(CHAMPION, holdout=Holdout(DEFAULT_FLOW, 9_999)))
    answer = decide(on).response()
    assert (answer["experiment"], answer["rung"]) == ({"name": HOLDOUT, "arm": HOLDOUT, "token": None}, "default")
    assert not reader.asked


def test_user_in_no_experiment_gets_the_champion_and_the_answer_names_none() -> None:
    answer = decide(ladder(Rows({USER: Row()}), drawn_from=Experiments(holdout=Holdout(RULES, 1)))).response()
    assert (answer["experiment"], answer["rung"]) == ({"name": None, "arm": CHAMPION, "token": None}, "model")


def test_record_tells_arm_experiment_and_propensity() -> None:
    on = ladder(Rows({USER: Row()}), drawn_from=experiments(CHAMPION, CHALLENGER, holdout=Holdout(RULES, 1_000)))
    record = decide(on).record(worker="w", sequence=0)
    assert record["experiment"] == "e"
    assert record["arm"] in (CHAMPION, CHALLENGER)
    assert record["propensity"] == pytest.approx(0.45)
    assert record["decided_at"].timestamp() * 1e6 == NOW_US

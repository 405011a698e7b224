"""Explanations: the features that moved a score most, true to the model, and left out with a reason without time."""

import asyncio
import threading
import time
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from serving_builder import FEATURES, LEARNER, Broken, Row, Rows, ladder, model, models

from firstmile.vocabulary import SKILL_LEVELS
from serving.explain import TOP, moves
from serving.requests import Ask, parse

USER = "AAA_2014J-1"


def explained(in_use: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    on = ladder(Rows({USER: Row()}), in_use, **settings)
    decision = asyncio.run(on.decide(Ask(USER, explain=True), started_s=time.perf_counter()))
    return decision.response()["explanation"]  # type: ignore[no-any-return]


def test_request_may_ask_for_it_and_is_not_given_it_otherwise() -> None:
    assert parse(b'{"user_id": "u", "explain": true}').explain
    on = ladder(Rows({USER: Row()}))
    assert "explanation" not in asyncio.run(on.decide(Ask(USER), started_s=time.perf_counter())).response()


def test_both_models_are_explained_by_their_greatest_parts() -> None:
    found = explained()
    assert set(found) == {"moved"}
    assert sorted(name.partition(":")[0] for name in found["moved"]) == ["activation", "skill_level"]
    for moved in found["moved"].values():
        sizes = [abs(m["contribution"]) for m in moved]
        assert 0 < len(moved) <= TOP
        assert sizes == sorted(sizes, reverse=True)
        assert {m["feature"] for m in moved} <= set(FEATURES)
        assert all(m["value"] == LEARNER[m["feature"]] for m in moved)
        assert all(m["direction"] == ("up" if m["contribution"] > 0 else "down") for m in moved)


def test_parts_and_bias_add_up_to_what_the_model_says() -> None:
    made = model("activation")
    name, found = moves(made, LEARNER, {})
    row = xgb.DMatrix(np.array([[LEARNER[f] for f in FEATURES]]), feature_names=list(FEATURES))
    bias = made.booster.predict(row, pred_contribs=True)[0, -1]
    log_odds = bias + sum(m.contribution for m in found)  # 4 features: none is left out of the TOP
    assert name == "activation"
    assert 1 / (1 + np.exp(-log_odds)) == pytest.approx(made.probabilities(LEARNER)["activation"], abs=1e-5)


def test_of_three_classes_the_likeliest_is_explained() -> None:
    made = model("skill_level")
    for level in SKILL_LEVELS:
        said = {f"skill_level:{other}": 0.9 if other == level else 0.05 for other in SKILL_LEVELS}
        assert moves(made, LEARNER, said)[0] == f"skill_level:{level}"


def test_a_feature_that_is_not_known_has_no_value() -> None:
    found = moves(model("activation"), {"days_since_last_event": 3.0}, {})[1]
    assert {m.feature: m.value for m in found} == {"clicks_total_count": None}


def test_without_a_model_the_reason_is_said() -> None:
    assert explained({}) == {"moved": {}, "reason": "no_model"}
    assert explained(models("disengagement")) == {"moved": {}, "reason": "no_model"}


def test_shed_requests_say_so() -> None:
    decision = ladder(Rows()).shed(Ask(USER, explain=True), started_s=time.perf_counter())
    assert decision.response()["explanation"] == {"moved": {}, "reason": "shed"}


class Slow(Broken):
    """Scores at once, explains when the gate opens."""

    def inplace_predict(self, data: Any) -> Any:
        """A score."""
        return np.array([0.5], np.float32)

    def predict(self, data: Any, **kwargs: Any) -> Any:
        """Trouble."""
        if self.gate is not None:
            self.gate.wait(10)
        raise self.error or ValueError("no")


def test_without_time_the_answer_comes_and_says_so() -> None:
    gate = threading.Event()
    slow = {**models(), "activation": model("activation", booster=Slow(gate=gate))}
    try:
        on = ladder(Rows({USER: Row()}), slow, model_timeout_ms=300.0)
        answer = asyncio.run(on.decide(Ask(USER, explain=True), started_s=time.perf_counter())).response()
    finally:
        gate.set()
    assert (answer["rung"], answer["explanation"]) == ("model", {"moved": {}, "reason": "late"})


def test_a_model_that_cannot_be_explained_costs_no_answer() -> None:
    broken = {**models(), "activation": model("activation", booster=Slow(ValueError("no trees")))}
    assert explained(broken) == {"moved": {}, "reason": "failed"}

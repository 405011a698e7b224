"""The ladder: which rung answers, with which reasons, when parts are missing, late, broken or behind."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from serving_builder import LEARNER, NOW_US, Broken, Row, Rows, ladder, model, models

from firstmile.clock import FixedClock
from firstmile.errors import DataError, DependencyError
from firstmile.vocabulary import MODELS
from serving.answers import Decision
from serving.ladder import Ladder
from serving.models import ScoringModel
from serving.requests import Ask

USER = "AAA_2014J-1"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds work up until the test is over."""
    held = threading.Event()
    yield held
    held.set()


def decide(on: Ladder, user_id: str = USER, page: str = "/home") -> Decision:
    return asyncio.run(on.decide(Ask(user_id, context={"page": page}), started_s=time.perf_counter()))


def known(**changes: object) -> Rows:
    return Rows({USER: Row(**changes)})  # type: ignore[arg-type]


def test_row_and_all_models_answer_from_the_model_rung() -> None:
    decision = decide(ladder(known()))
    answer = decision.response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("model", False, [])
    assert answer["models"] == dict.fromkeys(MODELS, "1")
    assert 0 < answer["activation_probability"] < 1
    assert answer["feature_lag_ms"] == 0
    assert set(decision.basis.vector) == {
        "clicks_total_count",
        "days_since_last_event",
        "onboarding_age_days",
        "prior_attempts",
    }


def test_same_row_in_the_same_minute_gives_the_same_answer() -> None:
    reader, clock = known(), FixedClock(NOW_US - NOW_US % 60_000_000)
    on = ladder(reader, clock=clock)
    first = decide(on).response()
    clock.now += 59_999_999
    second = decide(on).response()
    for answer in (first, second):
        del answer["request_id"], answer["latency_ms"]
    assert first == second
    assert len(set(reader.asked)) == 1
    assert reader.asked[0] >= clock.now


def test_unknown_user_of_a_healthy_store_is_new_and_no_fallback() -> None:
    answer = decide(ladder(Rows())).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("rules", False, ["cold_start"])
    assert answer["segment"]["stage"] == "new"


def test_imported_profile_without_events_is_new_and_gets_the_own_course() -> None:
    answer = decide(ladder(known(row_version_us=None, values={}))).response()
    assert answer["reasons"] == ["cold_start"]
    urls = [item["url"] for item in answer["recommended_content"]]
    assert len(urls) == 5
    assert all(url.startswith("/courses/AAA_2014J/") for url in urls)


def test_unknown_user_without_progress_record_is_store_loss() -> None:
    answer = decide(ladder(Rows(lag_ms=None))).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("rules", True, ["store_loss"])


def test_row_without_progress_record_is_history_and_trusted() -> None:
    reader = known()
    reader.lag_ms = None
    answer = decide(ladder(reader)).response()
    assert (answer["rung"], answer["feature_lag_ms"]) == ("model", None)


def test_lag_over_budget_masks_recent_activity_and_keeps_totals() -> None:
    values = {**LEARNER, "days_since_last_event": 30.0}
    reader = known(values=values)
    assert decide(ladder(reader, {})).response()["segment"]["stage"] == "stalled"
    reader.lag_ms = 61_000.0
    answer = decide(ladder(reader)).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("rules", True, ["pipeline_lag"])
    assert answer["segment"]["stage"] == "active"
    assert answer["activation_probability"] is None


def test_lag_within_budget_is_trusted() -> None:
    reader = known()
    reader.lag_ms = 59_000.0
    assert decide(ladder(reader)).response()["rung"] == "model"


def test_old_row_of_an_idle_user_is_fresh() -> None:
    values = {**LEARNER, "days_since_last_event": 400.0, "onboarding_age_days": 405.0}
    assert decide(ladder(known(values=values, row_version_us=1))).response()["rung"] == "model"


def test_no_models_at_all_answers_from_rules_and_says_so() -> None:
    answer = decide(ladder(known(), {})).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("rules", True, ["no_model"])
    assert answer["recommended_content"]


def test_without_a_preference_model_the_answer_is_whole_by_the_users_own_opens() -> None:
    answer = decide(ladder(known(), models("activation", "disengagement", "skill_level"))).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("model", False, [])
    assert sum(p["probability"] for p in answer["preferences"]) == pytest.approx(1, abs=1e-3)


def test_one_missing_champion_is_partial() -> None:
    answer = decide(ladder(known(), models("activation", "disengagement", "preference"))).response()
    assert (answer["rung"], answer["fallback"]) == ("partial", True)
    assert answer["reasons"] == ["model_missing:skill_level"]
    assert answer["activation_probability"] is not None
    assert answer["segment"]["confidence"] == 0


def test_model_that_raises_does_not_take_the_others_along() -> None:
    broken = model("disengagement", booster=Broken(ValueError("bad tree")))
    answer = decide(ladder(known(), {**models(), "disengagement": broken})).response()
    assert (answer["rung"], answer["reasons"]) == ("partial", ["model_failed:disengagement"])
    assert set(answer["models"]) == {"activation", "skill_level", "preference"}


def test_model_that_hangs_costs_its_deadline_and_its_own_answer_alone(gate: threading.Event) -> None:
    hung = model("disengagement", booster=Broken(gate=gate))
    answer = decide(ladder(known(), {**models(), "disengagement": hung}, model_timeout_ms=300.0)).response()
    assert (answer["rung"], answer["reasons"]) == ("partial", ["model_late:disengagement"])


def test_too_young_for_every_model_is_cold_start_and_no_fallback() -> None:
    answer = decide(ladder(known(), models(min_onboarding_days=7.0))).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("rules", False, ["cold_start"])


def test_too_young_for_one_model_is_answered_by_the_others_as_meant() -> None:
    in_use = {**models(), "skill_level": model("skill_level", min_onboarding_days=14.0)}
    answer = decide(ladder(known(), in_use)).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("model", False, ["cold_start:skill_level"])


@pytest.mark.parametrize(
    "profile",
    [
        {"cohort": None, "prior_attempts": None},
        {"cohort": None, "prior_attempts": None, "profile_updated_us": NOW_US},  # deleted: the time alone is left
        {"cohort": "AAA_2014J", "prior_attempts": None, "profile_updated_us": NOW_US},  # no trait that models read
    ],
)
def test_missing_profile_is_masked_only_where_a_model_was_gated_without_it(profile: dict[str, Any]) -> None:
    reader = known(profile=profile)
    assert decide(ladder(reader)).response()["reasons"] == [f"user_profile_missing:{n}" for n in MODELS]
    gated = {**models(), "activation": model("activation", gated_without=frozenset({"user_profile"}))}
    answer = decide(ladder(reader, gated)).response()
    assert (answer["rung"], list(answer["models"])) == ("partial", ["activation"])


ACTIVATED = {**LEARNER, "form_submit_total_count": 1.0}


def test_who_is_activated_is_not_asked_about_activation_and_that_is_no_fallback() -> None:
    answer = decide(ladder(known(values=ACTIVATED))).response()
    assert answer["segment"]["stage"] == "activated"
    assert answer["activation_probability"] is None
    assert (answer["rung"], answer["fallback"]) == ("model", False)
    assert answer["reasons"] == ["out_of_population:activation"]
    assert "activation" not in answer["models"]
    assert decide(ladder(known())).response()["activation_probability"] is not None


def test_an_answer_from_memory_leaves_out_a_model_that_is_not_for_this_user_any_more() -> None:
    rows = known()
    broken: dict[str, ScoringModel] = models()
    on = ladder(rows, lambda: broken)
    assert decide(on).response()["activation_probability"] is not None
    rows.rows[USER] = Row(values=ACTIVATED)
    broken = {name: model(name, booster=Broken(ValueError("away"))) for name in broken}
    answer = decide(on).response()
    assert (answer["rung"], answer["activation_probability"]) == ("cached", None)
    assert set(answer["models"]) == set(models()) - {"activation"}


def test_a_profile_of_zeros_is_a_profile() -> None:
    answer = decide(ladder(known(profile={"prior_attempts": 0, "studied_credits": 0}))).response()
    assert (answer["rung"], answer["reasons"]) == ("model", [])


@pytest.mark.parametrize("error", [DependencyError("refused"), OSError("reset"), RuntimeError("anything")])
def test_store_that_fails_answers_from_rules(error: Exception) -> None:
    answer = decide(ladder(Rows(error=error))).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("rules", True, ["features_failed"])


def test_damaged_row_answers_from_rules_and_does_not_stop_reads_of_others() -> None:
    on = ladder(damaged := Rows({USER: Row()}, error=DataError("damaged")))

    async def many() -> list[str]:
        seen = [await on.decide(Ask(USER), started_s=time.perf_counter()) for _ in range(8)]
        damaged.error = None
        seen.append(await on.decide(Ask(USER), started_s=time.perf_counter()))
        return [d.response()["reasons"][0] if d.basis.reasons else d.basis.rung for d in seen]

    assert asyncio.run(many()) == ["row_unreadable"] * 8 + ["model"]


def test_hung_store_costs_its_deadline_then_nobody_waits(gate: threading.Event) -> None:
    reader = known()
    reader.gate = gate
    on = ladder(reader, feature_timeout_ms=150.0, threads=2)

    async def many() -> list[tuple[str, ...]]:
        return [(await on.decide(Ask(USER), started_s=time.perf_counter())).basis.reasons for _ in range(7)]

    assert asyncio.run(many()) == [("features_late",)] * 5 + [("features_refused",)] * 2


def test_last_good_assessment_answers_when_the_store_is_gone() -> None:
    reader = known(opened=["877037"])
    on = ladder(reader)
    before = decide(on)
    reader.error = OSError("gone")
    after = decide(on, page="/welcome")
    assert (after.basis.rung, after.is_fallback, after.basis.reasons) == ("cached", True, ("features_failed",))
    assert after.answer.segment == before.answer.segment
    assert after.basis.predictions == before.basis.predictions
    assert after.basis.models == before.basis.models
    assert not after.basis.vector


def test_last_good_assessment_answers_when_scoring_hangs_over_the_fresh_row(gate: threading.Event) -> None:
    reader, in_use = known(), models()
    on = ladder(reader, lambda: in_use, model_timeout_ms=300.0)
    top = decide(on).answer.items[0].content.content_id
    in_use = {name: model(name, booster=Broken(gate=gate)) for name in in_use}
    reader.rows[USER] = Row(opened=[top])
    after = decide(on)
    assert after.basis.rung == "cached"
    assert top not in [item.content.content_id for item in after.answer.items]


def test_last_good_assessment_too_old_is_not_used() -> None:
    reader, clock = known(), FixedClock(NOW_US)
    on = ladder(reader, clock=clock, cache_max_age_s=60.0)
    decide(on)
    reader.error = OSError("gone")
    clock.now += 61_000_000
    assert decide(on).basis.rung == "rules"


def test_models_taken_away_do_not_answer_from_memory() -> None:
    in_use: dict[str, ScoringModel] = models()
    on = ladder(known(), lambda: in_use)
    decide(on)
    in_use = {}
    decision = decide(on)
    assert (decision.basis.rung, decision.basis.predictions) == ("rules", {})


def test_forgotten_user_is_not_remembered() -> None:
    reader = known()
    on = ladder(reader)
    decide(on)
    reader.rows.clear()
    assert decide(on).basis.reasons == ("cold_start",)
    reader.error = OSError("gone")
    assert decide(on).basis.rung == "rules"


def test_no_time_left_answers_from_rules_without_waiting(gate: threading.Event) -> None:
    reader = known()
    reader.gate = gate
    on = ladder(reader, budget_ms=100.0)
    decision = asyncio.run(on.decide(Ask(USER), started_s=time.perf_counter() - 1.0))
    assert decision.basis.reasons == ("features_late",)
    assert not reader.asked


def test_shed_request_gets_the_default_flow_without_any_read() -> None:
    reader = known()
    answer = ladder(reader).shed(Ask(USER, limit=2), started_s=time.perf_counter()).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("default", True, ["shed"])
    assert (answer["flow"], len(answer["recommended_content"])) == ("default", 2)
    assert not reader.asked


def test_fault_of_our_own_answers_with_the_default_flow() -> None:
    answer = decide(ladder(known(values={**LEARNER, "opens_lesson": "many"}))).response()
    assert (answer["rung"], answer["reasons"]) == ("default", ["internal_error"])
    assert answer["recommended_content"]

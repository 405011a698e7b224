"""The first gate, on figures written by hand."""

import math

import pytest

from training.figures import Figures, figures_of, metric_name
from training.gates import (
    AUC_TOLERANCE,
    ECE_BOUND,
    GAP_GROWTH,
    LATENCY_BOUND_MS,
    SIZE_BOUND_BYTES,
    WORSE_BY,
    Comparison,
    all_passed,
    cost_gate,
    ece_gate,
    first_gate,
    gap_gate,
    not_worse_gate,
)
from training.tasks import TASKS

DAYS = TASKS["activation"].evaluated_days


def figures(**changed: float) -> dict[int, Figures]:
    base = {"auc": 0.8, "auc_one_column": 0.75, "log_loss": 0.3, "log_loss_majority": 0.5}
    return {day: {**base, **changed} for day in DAYS}


def passed(by_day: dict[int, Figures]) -> list[bool]:
    return [v.passed for v in first_gate(DAYS, by_day)]


def test_a_good_model_passes_and_every_reason_gives_both_numbers() -> None:
    verdicts = first_gate(DAYS, figures())
    assert all_passed(verdicts)
    assert [("0.3000" in v.reason, "0.5000" in v.reason) for v in verdicts[:1]] == [(True, True)]
    assert [("0.8000" in v.reason, "0.7500" in v.reason) for v in verdicts[1:]] == [(True, True)]


@pytest.mark.parametrize(("loss", "expected"), [(0.4999, True), (0.5, False), (0.6, False)])
def test_log_loss_must_be_below_majority(loss: float, expected: bool) -> None:
    assert passed(figures(log_loss=loss))[0] is expected


@pytest.mark.parametrize(
    ("auc", "expected"), [(0.75 - AUC_TOLERANCE + 1e-9, True), (0.75 - AUC_TOLERANCE - 1e-6, False)]
)
def test_auc_may_be_a_tolerance_below_one_column(auc: float, expected: bool) -> None:
    assert passed(figures(auc=auc))[1] is expected


def test_the_mean_over_the_judged_days_decides_and_other_days_do_not() -> None:
    by_day = figures(auc=0.7)
    by_day[14]["auc"] = 0.9
    by_day[0] = {"auc": 0.1, "auc_one_column": 0.9, "log_loss": 9.0, "log_loss_majority": 0.1}
    assert passed(by_day) == [True, True]


@pytest.mark.parametrize("missing", [math.nan, None])
def test_a_missing_or_undefined_figure_refuses(missing: float | None) -> None:
    by_day = figures()
    if missing is None:
        del by_day[7]["auc"]
    else:
        by_day[7]["auc"] = missing
    verdicts = first_gate(DAYS, by_day)
    assert [v.passed for v in verdicts] == [True, False]
    assert "missing or undefined" in verdicts[1].reason


def test_no_figures_at_all_refuse_and_no_verdicts_are_a_no() -> None:
    assert passed({}) == [False, False]
    assert not all_passed([])


def test_figures_survive_the_names_they_are_logged_under() -> None:
    logged = {metric_name("later_start", day, k): v for day, f in figures().items() for k, v in f.items()}
    other = {metric_name("held_out_people", 7, "auc"): 0.1, "n_rounds": 3.0}
    assert figures_of({**logged, **other}, "later_start") == figures()


@pytest.mark.parametrize(("ece", "expected"), [(ECE_BOUND - 1e-6, True), (ECE_BOUND + 1e-6, False), (math.nan, False)])
def test_probabilities_must_mean_what_they_say(ece: float, expected: bool) -> None:
    assert ece_gate(DAYS, figures(ece=ece)).passed is expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, [True, True]),
        ({"latency_ms": LATENCY_BOUND_MS + 0.01}, [False, True]),
        ({"size_bytes": SIZE_BOUND_BYTES + 1}, [True, False]),
    ],
)
def test_time_and_size_have_bounds(changed: dict[str, float], expected: list[bool]) -> None:
    assert [v.passed for v in cost_gate({"latency_ms": 0.3, "size_bytes": 1e5, **changed})] == expected


def test_a_run_that_measured_no_cost_is_refused() -> None:
    assert [v.passed for v in cost_gate({})] == [False, False]


@pytest.mark.parametrize(("low", "expected"), [(-WORSE_BY + 1e-6, True), (-WORSE_BY, False), (math.nan, False)])
def test_the_lower_end_against_the_champion_decides_and_the_table_says_how_it_was_compared(
    low: float, expected: bool
) -> None:
    verdict = not_worse_gate(Comparison("3", "no data after both", 0.01, low, 0.05))
    assert verdict.passed is expected
    assert "no data after both" in verdict.reason
    assert "champion 3" in verdict.reason


@pytest.mark.parametrize(("after", "expected"), [(0.3, True), (0.2 + GAP_GROWTH + 1e-6, False), (0.0, True)])
def test_one_gap_that_grows_too_far_on_one_day_refuses_and_is_named(after: float, expected: bool) -> None:
    before = figures(gap_tpr_gender=0.2, gap_fpr_region=0.1)
    now = figures(gap_tpr_gender=0.2, gap_fpr_region=0.1)
    now[7]["gap_tpr_gender"] = after
    verdict = gap_gate(DAYS, now, before)
    assert verdict.passed is expected
    assert expected or "tpr_gender on day 7 grew most, 0.200 to 0.300" in verdict.reason


def test_gaps_are_told_with_their_intervals_and_those_new_to_the_champion_are_named() -> None:
    before = figures(gap_tpr_gender=0.2)
    now = figures(gap_tpr_gender=0.25, gap_tpr_gender_low=0.1, gap_tpr_gender_high=0.4, gap_fpr_gender=0.9)
    reason = gap_gate(DAYS, now, before).reason
    assert "0.200 to 0.250 [0.100, 0.400]" in reason
    assert f"new to the champion: fpr_gender on day {DAYS[0]} (0.900)" in reason


def test_a_challenger_that_measured_no_gap_is_refused_but_a_champion_that_did_not_holds_nobody_up() -> None:
    measured = figures(gap_tpr_gender=0.2)
    assert not gap_gate(DAYS, figures(), measured).passed
    verdict = gap_gate(DAYS, measured, figures())
    assert verdict.passed
    assert "no gap of the champion is known" in verdict.reason

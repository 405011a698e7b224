"""The first gate, on figures written by hand."""

import math

import pytest

from training.figures import Figures, figures_of, metric_name
from training.gates import AUC_TOLERANCE, all_passed, first_gate
from training.tasks import TASKS


def figures(**changed: float) -> dict[int, Figures]:
    base = {"auc": 0.8, "auc_one_column": 0.75, "log_loss": 0.3, "log_loss_majority": 0.5}
    return {day: {**base, **changed} for day in TASKS["activation"].evaluated_days}


def passed(by_day: dict[int, Figures]) -> list[bool]:
    return [v.passed for v in first_gate("activation", by_day)]


def test_a_good_model_passes_and_every_reason_gives_both_numbers() -> None:
    verdicts = first_gate("activation", figures())
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
    verdicts = first_gate("activation", by_day)
    assert [v.passed for v in verdicts] == [True, False]
    assert "missing or undefined" in verdicts[1].reason


def test_no_figures_at_all_refuse_and_no_verdicts_are_a_no() -> None:
    assert passed({}) == [False, False]
    assert not all_passed([])


def test_figures_survive_the_names_they_are_logged_under() -> None:
    logged = {metric_name("later_start", day, k): v for day, f in figures().items() for k, v in f.items()}
    other = {metric_name("held_out_students", 7, "auc"): 0.1, "n_rounds": 3.0}
    assert figures_of({**logged, **other}, "later_start") == figures()

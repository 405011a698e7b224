"""Figures against counts by hand."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from training.baselines import read_baselines
from training.evaluate import brier, class_shares, column_scores, column_signs, evaluate, macro_auc, quality


def by_pairs(y: np.ndarray, score: np.ndarray) -> float:
    """AUC by its meaning: the share of (positive, negative) pairs in the right order, ties half."""
    pairs = [(p > n) + 0.5 * (p == n) for p in score[y == 1] for n in score[y == 0]]
    return float(np.mean(pairs))


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 60), rng.integers(0, 5, 60) / 5
    assert macro_auc(y, np.column_stack([1 - p, p])) == pytest.approx(by_pairs(y, p))


def test_macro_auc_is_the_mean_over_classes_against_the_rest() -> None:
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 3, 90), rng.dirichlet([1, 1, 1], 90)
    expected = np.mean([by_pairs((y == k).astype(int), p[:, k]) for k in range(3)])
    assert macro_auc(y, p) == pytest.approx(expected)


def test_auc_of_one_class_is_undefined() -> None:
    assert np.isnan(macro_auc(np.zeros(3, int), np.full((3, 2), 0.5)))


def test_brier_of_three_classes_sums_over_them() -> None:
    assert brier(np.array([0]), np.array([[0.5, 0.25, 0.25]])) == pytest.approx(0.25 + 0.0625 + 0.0625)


def test_a_column_that_falls_with_the_class_is_turned_round() -> None:
    train_x, train_y = np.array([9.0, 8.0, 1.0]), np.array([0, 0, 1])
    x, y = np.array([5.0, 1.0, np.nan]), np.array([0, 1, 1])
    assert macro_auc(y, column_scores(x, column_signs(train_x, train_y, 2))) == 1.0


def test_shares_stay_above_zero_and_follow_the_weights() -> None:
    shares = class_shares(np.array([1, 1, 2]), np.array([0.5, 0.5, 8.0]), 3)
    assert shares.tolist() == pytest.approx([1 / 12, 2 / 12, 9 / 12])


def test_figures_are_taken_inside_a_cohort_and_averaged_by_its_users() -> None:
    # Inside each cohort the scores say nothing (AUC 0.5); pooled they would tell the cohorts apart.
    y = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    score = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1])
    p = np.column_stack([1 - score, score])
    half = np.full((8, 2), 0.5)
    cohort = np.array(["AAA_2013J"] * 4 + ["BBB_2013B"] * 4)
    day = np.full(8, 7)
    result = evaluate(y, p, p_one_column=p, p_majority=half, day=day, cohort=cohort)[7]
    assert result["auc"] == 0.5
    assert macro_auc(y, p) > 0.5
    assert (result["n"], result["base_rate"]) == (8, 0.5)
    assert result["log_loss_majority"] == pytest.approx(np.log(2))
    assert result["accuracy"] == 0.75


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_area_and_log_loss_are_scikit_learns(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    y = rng.integers(0, n_classes, 300)
    scores = rng.dirichlet(np.ones(n_classes), 300).round(2) + 1e-3  # rounded: ties
    p = scores / scores.sum(axis=1, keepdims=True)
    areas = [roc_auc_score(y == k, p[:, k]) for k in ([1] if n_classes == 2 else range(n_classes))]
    assert macro_auc(y, p) == pytest.approx(np.mean(areas))
    found = quality(y, p, np.full(300, "AAA_2013J"))
    assert found["log_loss"] == pytest.approx(log_loss(y, p, labels=range(n_classes)))


def test_of_several_classes_the_column_speaks_for_each_against_the_rest_as_it_did_in_training() -> None:
    train_x, train_y = np.array([9.0, 8.0, 5.0, 4.0, 1.0, 0.0]), np.array([2, 2, 1, 1, 0, 0])
    signs = column_signs(train_x, train_y, 3)
    assert (signs[0], signs[2]) == (-1, 1)
    y = np.array([0, 0, 2, 2])
    assert macro_auc(y, column_scores(np.array([1.0, np.nan, 7.0, 8.0]), signs)) == 1.0
    assert macro_auc(y, column_scores(np.array([7.0, 8.0, 1.0, 0.0]), signs)) == 0.0


def test_baselines_registered_before_there_was_a_sign_per_class_are_read_as_they_were_meant() -> None:
    two = '{"one_column_sign": -1, "shares": {"7": [0.4, 0.6]}}'
    three = '{"one_column_sign": 1, "shares": {"7": [0.2, 0.3, 0.5]}}'
    assert read_baselines(two).one_column_signs == (1, -1)
    assert read_baselines(three).one_column_signs == ()

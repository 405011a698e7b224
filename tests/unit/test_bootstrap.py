"""Intervals against figures worked out the slow way, and slices by hand."""

import numpy as np
import pandas as pd
import pytest

from firstmile.vocabulary import AUDIT_ATTRIBUTES
from training.bootstrap import N_DRAWS, difference_low, drawn_auc, drawn_figures, draws, ece, intervals
from training.evaluate import macro_auc
from training.figures import ENDS
from training.slices import MIN_GROUP, MIN_OUTCOMES, rates, slices

P = "AAA_2013J"


def made(n: int = 120, *, n_classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n_classes), n).round(1)  # rounded: ties
    p = (p + 0.01) / (p + 0.01).sum(axis=1, keepdims=True)
    return rng.integers(0, n_classes, n), p


@pytest.mark.parametrize("n_classes", [2, 3])
def test_auc_of_a_draw_is_the_auc_of_the_rows_repeated(n_classes: int) -> None:
    y, p = made(n_classes=n_classes)
    weights = draws(np.arange(len(y)).astype(str), seed=3, n_draws=5)
    repeated = [macro_auc(np.repeat(y, w.astype(int)), np.repeat(p, w.astype(int), axis=0)) for w in weights]
    assert drawn_auc(y, p, weights).tolist() == pytest.approx(repeated)


def test_a_users_rows_are_drawn_together() -> None:
    weights = draws(np.array(["u", "v", "u", "w"]), seed=1)
    assert weights.shape == (N_DRAWS, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_intervals_hold_the_figure_and_narrow_with_more_users() -> None:
    widths = []
    for n in (100, 1_600):
        y, p = made(n)
        day, start, users = np.full(n, 7), np.full(n, P), np.arange(n).astype(str)
        found = intervals(y, p, day=day, cohort=start, users=users, seed=2)[7]
        assert found["auc_low"] < macro_auc(y, p) < found["auc_high"]
        widths.append(found["auc_high"] - found["auc_low"])
    assert widths[1] < widths[0] / 2


def test_figures_of_one_draw_of_everybody_are_the_plain_ones() -> None:
    y, p = made()
    found = drawn_figures(y, p, np.full(len(y), P), np.ones((1, len(y))))
    assert found["auc"][0] == pytest.approx(macro_auc(y, p))
    assert found["brier"][0] == pytest.approx(np.mean((p[:, 1] - y) ** 2))
    assert found["log_loss"][0] == pytest.approx(-np.mean(np.log(p[np.arange(len(y)), y])))


def test_ece_is_the_gap_in_each_bin_by_its_share() -> None:
    said, came = np.array([0.05, 0.05, 0.95, 0.95]), np.array([0, 1, 1, 1])
    assert ece(came, np.column_stack([1 - said, said]))[0] == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)
    sure = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
    assert ece(np.array([0, 1]), sure)[0] == pytest.approx(0.3)  # the likeliest class, right half the time


def test_the_same_answers_differ_by_nothing_and_worse_ones_surely() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    good = np.clip(0.5 + 0.3 * (y - 0.5) + 0.2 * rng.normal(size=400), 0.01, 0.99)
    noise = rng.uniform(size=400)
    cells, users = np.full(400, P), np.arange(400).astype(str)
    same, worse = (
        difference_low(
            y, np.column_stack([1 - a, a]), np.column_stack([1 - good, good]), cells=cells, users=users, seed=1
        )
        for a in (good, noise)
    )
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert worse["high"] < 0


def test_groups_are_cut_by_attribute_small_ones_named_and_gaps_taken_between_the_rest() -> None:
    n = 2 * MIN_GROUP + 3
    users = np.array([f"u{i}" for i in range(n)])
    gender = np.array(["F"] * MIN_GROUP + ["M"] * MIN_GROUP + ["X"] * 3)
    audit = pd.DataFrame(dict.fromkeys(AUDIT_ATTRIBUTES, "same"), index=users).assign(gender=gender)
    y = np.arange(n) % 2
    yes = np.where(gender == "F", 0.9, np.where(y == 1, 0.9, 0.1))  # F: everybody; M: whom it came true for
    who = pd.DataFrame({"user_id": users, "cohort": P})
    found = slices("activation", y, np.column_stack([1 - yes, yes]), users=who, audit=audit, seed=1)
    cut = found["gender"]
    assert cut["too_small"] == {"X": 3}
    gaps = {name: gap for name, gap in cut["gaps"].items() if not name.endswith(ENDS)}
    assert gaps == {"selection_rate": pytest.approx(0.5), "tpr": 0.0, "fpr": 1.0}
    assert cut["gaps"]["selection_rate_low"] < 0.5 < cut["gaps"]["selection_rate_high"]
    assert (cut["groups"]["M"]["auc"], cut["groups"]["F"]["auc"]) == (1.0, 0.5)
    assert cut["groups"]["M"]["log_loss_low"] <= cut["groups"]["M"]["log_loss"] <= cut["groups"]["M"]["log_loss_high"]
    assert found["region"]["gaps"] == {}  # one group has nothing to lie apart from


def test_a_rate_of_a_handful_is_no_rate() -> None:
    found = rates(np.repeat([1, 0], [100, MIN_OUTCOMES - 1]), np.ones(100 + MIN_OUTCOMES - 1, bool))
    assert found["tpr"] == 1.0
    assert np.isnan(found["fpr"])

"""NDCG against its formula written out, and the interval against what a bootstrap must do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.ndcg import TOP, interval, ndcg


def by_hand(score: list[float], hit: list[int], n_true: int) -> float:
    """One group: places by score, ties in the order given."""
    order = sorted(range(len(score)), key=lambda i: -score[i])
    gained = sum(hit[i] / math.log2(place + 2) for place, i in enumerate(order[:TOP]))
    ideal = sum(1 / math.log2(place + 2) for place in range(min(n_true, TOP)))
    return gained / ideal if n_true else math.nan


groups = st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=12), min_size=1, max_size=6)


@given(groups, st.integers(0, 3))
def test_every_group_gets_what_the_formula_gives_it_alone(made: list[list[tuple[int, int]]], n_lost: int) -> None:
    index = np.repeat(np.arange(len(made)), [len(g) for g in made])
    score = np.array([s for g in made for s, _ in g], float)
    hit = np.array([h for g in made for _, h in g], np.int64)
    n_true = np.array([sum(h for _, h in g) + n_lost for g in made])
    expected = [by_hand([s for s, _ in g], [h for _, h in g], n) for g, n in zip(made, n_true, strict=True)]
    assert ndcg(score, hit, index, n_true).tolist() == pytest.approx(expected, nan_ok=True)


def test_the_right_order_is_1_and_a_hit_past_the_fifth_place_is_nothing() -> None:
    one, falling = np.zeros(6, np.int64), np.arange(6.0)[::-1]
    assert ndcg(falling, np.array([1, 1, 0, 0, 0, 0]), one, np.array([2])).tolist() == [1.0]
    assert ndcg(falling, np.array([0, 0, 0, 0, 0, 1]), one, np.array([1])).tolist() == [0.0]


def test_what_was_lost_before_the_ranking_counts_against_it() -> None:
    score, hit, one = np.array([1.0, 0.0]), np.array([1, 0]), np.zeros(2, np.int64)
    assert ndcg(score, hit, one, np.array([2]))[0] < ndcg(score, hit, one, np.array([1]))[0] == 1.0


def test_an_interval_is_of_the_mean_and_the_same_for_the_same_seed() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    low, high = interval(values, np.arange(400), seed=1)
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert interval(values, np.arange(400), seed=1) == (low, high) != interval(values, np.arange(400), seed=2)


def test_rows_of_one_learner_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(0.0, 1.0, 100), 4)
    together = interval(values, np.repeat(np.arange(100), 4), seed=1)
    apart = interval(values, np.arange(400), seed=1)
    assert together[1] - together[0] == pytest.approx(2 * (apart[1] - apart[0]), rel=0.15)


def test_no_values_have_no_interval() -> None:
    low, high = interval(np.zeros(0), np.zeros(0, np.int64), seed=0)
    assert math.isnan(low)
    assert math.isnan(high)

"""What two columns say alone: a plane of log odds, and trees that order people as finely as the plane does."""

import numpy as np
import pytest
import xgboost as xgb

from training.anchor import AGE, BEYOND, CLICKS, Plane, anchor, plane
from training.evaluate import macro_auc

FEATURES = ("n_pages", CLICKS, AGE)
SAID = Plane(-2.0, 0.7, -0.4, blind=0.3)


def margin(booster: xgb.Booster, clicks: object, age: object) -> np.ndarray:
    clicks = np.atleast_1d(np.asarray(clicks, float))
    x = np.column_stack([np.full(len(clicks), np.nan), clicks, np.broadcast_to(age, clicks.shape)])
    return booster.inplace_predict(x, predict_type="margin")


@pytest.fixture(scope="module")
def trees() -> xgb.Booster:
    return anchor(SAID, features=FEATURES, most=(2_000.0, 29.0), objective="binary:logistic")


def test_trees_say_what_the_plane_says(trees: xgb.Booster) -> None:
    rng = np.random.default_rng(1)
    clicks, age = rng.integers(0, 2_000, 500).astype(float), rng.uniform(1, 29, 500)
    assert np.abs(margin(trees, clicks, age) - SAID.at(clicks, age)).max() < 0.15
    assert margin(trees, np.nan, np.nan)[0] == pytest.approx(SAID.blind, abs=0.05)


def test_more_clicks_are_never_ordered_the_other_way_and_hardly_ever_alike(trees: xgb.Booster) -> None:
    clicks = np.unique(np.random.default_rng(2).lognormal(4.5, 1.2, 400).round())
    said = margin(trees, clicks, 7.0)
    assert (np.diff(said) >= -1e-6).all()
    assert len(np.unique(said)) > 0.7 * len(clicks)


def test_an_order_by_the_trees_is_as_good_as_one_by_the_column(trees: xgb.Booster) -> None:
    rng = np.random.default_rng(3)
    clicks = rng.lognormal(4.5, 1.2, 2_000).round()
    y = (rng.random(2_000) < 1 / (1 + np.exp(-SAID.at(clicks, np.full(2_000, 7.0))))).astype(int)
    by_column, by_trees = (macro_auc(y, np.column_stack([-s, s])) for s in (clicks, margin(trees, clicks, 7.0)))
    assert by_trees == pytest.approx(by_column, abs=0.001)


def test_the_plane_of_rows_is_found_again() -> None:
    rng = np.random.default_rng(4)
    clicks, age = rng.lognormal(4, 1.5, 20_000), rng.uniform(1, 29, 20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(-SAID.at(clicks, age)))).astype(int)
    found = plane(clicks, age, y, np.ones(20_000), sign=1)
    assert (found.by_clicks, found.by_age) == pytest.approx((SAID.by_clicks, SAID.by_age), abs=0.08)


@pytest.mark.parametrize(("sign", "slope"), [(1, 0.0), (-1, -1.0), (0, -1.0)])
def test_clicks_that_say_the_opposite_of_what_they_can_mean_say_nothing(sign: int, slope: float) -> None:
    clicks = np.expm1(np.random.default_rng(5).uniform(0, 6, 4_000))
    y = (np.log1p(clicks) < 3).astype(int)
    found = plane(clicks, np.ones(4_000), y, np.ones(4_000), sign=sign)
    assert np.sign(found.by_clicks) == np.sign(slope)


def test_rows_of_one_class_or_of_nothing_known_give_a_finite_answer() -> None:
    nothing, ones = np.full(10, np.nan), np.ones(10)
    for clicks, y in ((np.arange(10.0), np.zeros(10, int)), (nothing, np.arange(10) % 2)):
        said = plane(clicks, ones, y, ones, sign=1)
        most = float(np.nanmax(clicks, initial=0.0))
        booster = anchor(said, features=FEATURES, most=(most, 1.0), objective="binary:logistic")
        assert np.isfinite(margin(booster, [0.0, BEYOND * 10, np.nan], 1.0)).all()

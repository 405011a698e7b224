"""Trees walked by compiled code say what XGBoost says of the same rows, bit for bit, from many threads at once."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from serving_builder import FEATURES, Broken, booster

from firstmile import trees as module
from firstmile.errors import DataError
from firstmile.trees import UnknownTreesError, trees_of
from firstmile.vocabulary import MODELS
from serving.models import prepare
from serving.scorer import Rows, by_xgboost, compiled_trees, probes

N = len(FEATURES)
numbers = st.floats(width=32, allow_infinity=False) | st.sampled_from([0.0, -0.0, float("nan"), 30.0])
rows = st.integers(1, 40).flatmap(lambda n: arrays(np.float32, (n, N), elements=numbers))


def inplace(made: xgb.Booster, row: Rows) -> Rows:
    return np.concatenate([np.asarray(made.inplace_predict(one[None])).reshape(1, -1) for one in row])


def trained(parameters: dict[str, Any], n_rounds: int = 30, **more: Any) -> xgb.Booster:
    """A booster over rows of which a fifth of the numbers is missing."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    x[rng.uniform(size=x.shape) < 0.2] = np.nan
    y = np.digitize(np.nan_to_num(x[:, 0]), [-0.5, 0.5])
    if "num_class" not in parameters:
        y = y > 0
    group = {"qid": np.repeat(np.arange(20), 20)} if parameters["objective"].startswith("rank") else {}
    data = xgb.DMatrix(x, y, nthread=1, **group)
    return xgb.train({"max_depth": 5, "nthread": 1, "seed": 3, **parameters}, data, n_rounds, **more)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=50, deadline=None)
@given(row=rows)
def test_scores_of_rows_together_equal_those_of_inplace_predict_alone_bit_for_bit(name: str, row: Rows) -> None:
    made = prepare(booster(name))
    trees = compiled_trees(made)
    assert trees is not None
    found, expected = trees.scores(row), inplace(made, row)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "binary:logistic"},
        {"objective": "binary:logistic", "base_score": 0.03},
        {"objective": "multi:softprob", "num_class": 3},
        {"objective": "multi:softprob", "num_class": 3, "num_parallel_tree": 3, "subsample": 0.6},
        {"objective": "rank:ndcg"},
        {"objective": "rank:pairwise"},
        {"objective": "reg:squarederror"},
        {"objective": "binary:logistic", "grow_policy": "lossguide", "max_leaves": 40, "max_depth": 0},
    ],
    ids=str,
)
def test_every_kind_of_trees_in_links_is_walked_as_xgboost_walks_it(parameters: dict[str, Any]) -> None:
    made = trained(parameters)
    trees = compiled_trees(made)
    assert trees is not None
    x = np.random.default_rng(6).normal(size=(3_000, 6)).astype(np.float32)
    x[::3, 1] = np.nan
    assert trees.scores(x).tobytes() == by_xgboost(made)(x).tobytes()


def test_trees_added_to_others_and_cut_off_again_are_walked() -> None:
    first = trained({"objective": "binary:logistic"}, 10)
    more = trained({"objective": "binary:logistic", "max_depth": 1}, 20, xgb_model=first)
    for made, n_trees in ((more, 30), (more[:15], 15)):
        trees = compiled_trees(made)
        assert trees is not None
        assert len(trees.roots) == n_trees
        assert trees.scores(probes(trees)).tobytes() == by_xgboost(made)(probes(trees)).tobytes()


def test_probes_stand_at_every_branch_of_small_trees_and_on_both_sides_of_it() -> None:
    trees = trees_of(trained({"objective": "binary:logistic", "max_depth": 2}, 3))
    x = probes(trees)
    assert (trees.branches[:, 0] >= 0).sum() == 3  # one each
    for feature, threshold in zip(trees.branches[:, 0], trees.numbers, strict=True):
        if feature >= 0:
            own = x[:, feature]
            assert (own == threshold).any()
            assert (own == np.nextafter(threshold, np.float32(-np.inf))).any()


def test_result_stays_when_the_next_row_is_scored() -> None:
    trees = trees_of(prepare(booster("preference")))
    first = trees.scores(np.full((1, N), 5, np.float32))
    kept = first.copy()
    trees.scores(np.full((1, N), 55, np.float32))
    assert np.array_equal(first, kept)


def test_many_threads_score_different_rows_with_all_models_at_once() -> None:
    made = [prepare(booster(name)) for name in MODELS]
    fast = [trees_of(b).scores for b in made]
    inputs = np.random.default_rng(3).uniform(0, 60, (400, 1, N)).astype(np.float32)
    expected = [[inplace(b, row) for b in made] for row in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: [one(row) for one in fast], inputs))
    assert all(
        np.array_equal(f, e) for fs, es in zip(found, expected, strict=True) for f, e in zip(fs, es, strict=True)
    )


@pytest.mark.parametrize("row", [np.zeros((1, N + 1), np.float32), np.zeros(N, np.float32), np.zeros((1, N))])
def test_row_of_another_form_is_refused_and_not_read(row: Any) -> None:
    trees = trees_of(prepare(booster("activation")))
    with pytest.raises(ValueError, match="float32"):
        trees.scores(row)


def test_rows_of_another_order_in_memory_are_read_right() -> None:
    made = prepare(booster("skill_level"))
    x = np.random.default_rng(4).uniform(0, 60, (N, 50)).astype(np.float32)
    assert np.array_equal(trees_of(made).scores(x.T), by_xgboost(made)(np.ascontiguousarray(x.T)))


def test_trees_of_another_kind_are_asked_by_xgboost(caplog: pytest.LogCaptureFixture) -> None:
    dart = trained({"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.2}, 5)
    frame = pd.DataFrame({"c": pd.Categorical(list("abcd") * 100), "x": np.arange(400.0)})
    data = xgb.DMatrix(frame, np.tile([0, 1, 1, 0], 100), enable_categorical=True, nthread=1)
    of_categories = xgb.train({"objective": "binary:logistic", "max_cat_to_onehot": 1}, data, 3)
    for made in (dart, of_categories, trained({"objective": "count:poisson"}, 2)):
        with pytest.raises(UnknownTreesError):
            trees_of(made)
        with caplog.at_level(logging.WARNING):
            assert compiled_trees(made) is None
        assert "asked by inplace_predict" in caplog.text


def test_trees_that_say_something_else_here_are_asked_by_xgboost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = prepare(booster("skill_level"))
    monkeypatch.setattr(module, "_base", lambda parameters, link: np.full(3, 0.1 + 1e-7, np.float32))
    assert compiled_trees(made) is None
    assert "other bits" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("left_children", 0),  # to itself: a walk would never end
        ("left_children", 2),  # where the other side leads too
        ("right_children", 10_000),
        ("split_indices", 900),
    ],
)
def test_trees_that_lead_nowhere_are_refused_and_not_walked(name: str, value: int) -> None:
    made = trained({"objective": "binary:logistic", "max_depth": 2}, 2)
    document = orjson.loads(bytes(made.save_raw("json")))
    document["learner"]["gradient_booster"]["model"]["trees"][0][name][0] = value
    with pytest.raises(DataError, match="damaged"):
        trees_of(Written(document))


def test_trees_of_a_class_there_is_not_are_refused() -> None:
    document = orjson.loads(bytes(trained({"objective": "multi:softprob", "num_class": 3}, 2).save_raw("json")))
    document["learner"]["gradient_booster"]["model"]["tree_info"][0] = 3
    with pytest.raises(DataError, match="classes"):
        trees_of(Written(document))


def test_a_booster_of_one_class_is_asked_by_xgboost_where_its_base_has_no_log_odds() -> None:
    made = xgb.train({"objective": "binary:logistic"}, xgb.DMatrix(np.ones((20, 2)), np.ones(20)), 2)
    trees = compiled_trees(made)
    row = np.ones((1, 2), np.float32)
    assert trees is None or trees.scores(row).tobytes() == by_xgboost(made)(row).tobytes()


class Written:
    """What trees_of asks a booster for, of a document of its JSON."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._text = orjson.dumps(document)

    def save_raw(self, kind: str) -> bytearray:
        return bytearray(self._text)

    def num_features(self) -> int:
        return 6


def test_error_of_a_booster_comes_through() -> None:
    broken = Broken(ValueError("broken"))
    assert compiled_trees(broken) is None  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="broken"):
        by_xgboost(broken)(np.zeros((1, N), np.float32))  # type: ignore[arg-type]

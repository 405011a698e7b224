"""The fast way of scoring one row gives what XGBoost's own gives, bit for bit, from many threads at once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from serving_builder import FEATURES, Broken, booster

from firstmile.names import MODELS
from serving import scorer as module
from serving.models import prepare
from serving.scorer import Rows, holding, scorer

N = len(FEATURES)
numbers = st.floats(width=32, allow_infinity=False) | st.sampled_from([0.0, -0.0, float("nan"), 30.0])
rows = st.integers(1, 40).flatmap(lambda n: arrays(np.float32, (n, N), elements=numbers))


def is_fast(made: Any) -> bool:
    return hasattr(made, "keeps")


def inplace(made: xgb.Booster, row: Rows) -> Rows:
    return np.concatenate([np.asarray(made.inplace_predict(one[None])).reshape(1, -1) for one in row])


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=50, deadline=None)
@given(row=rows)
def test_scores_of_rows_together_equal_those_of_inplace_predict_alone_bit_for_bit(name: str, row: Rows) -> None:
    made = prepare(booster(name))
    fast = scorer(made)
    assert is_fast(fast)
    found, expected = fast(row), inplace(made, row)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    assert found.tobytes() == expected.tobytes()
    held = holding(fast)
    assert held is not None
    assert held(row).tobytes() == expected.tobytes()


def test_result_stays_when_the_next_row_is_scored() -> None:
    fast = scorer(prepare(booster("preference")))
    first = fast(np.full((1, N), 5, np.float32))
    kept = first.copy()
    fast(np.full((1, N), 55, np.float32))
    assert np.array_equal(first, kept)


def test_many_threads_score_different_rows_with_all_models_at_once() -> None:
    made = [prepare(booster(name)) for name in MODELS]
    fast = [scorer(b) for b in made]
    inputs = np.random.default_rng(3).uniform(0, 60, (400, 1, N)).astype(np.float32)
    expected = [[inplace(b, row) for b in made] for row in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: [one(row) for one in fast], inputs))
    assert all(
        np.array_equal(f, e) for fs, es in zip(found, expected, strict=True) for f, e in zip(fs, es, strict=True)
    )


@pytest.mark.parametrize(
    "row",
    [
        np.zeros((1, N + 1), np.float32),
        np.zeros(N, np.float32),
        np.zeros((1, N)),
        np.zeros((1, 2 * N), "f4")[:, ::2],
    ],
)
def test_row_of_another_form_is_refused_and_not_read(row: Any) -> None:
    with pytest.raises(ValueError, match="float32"):
        scorer(prepare(booster("activation")))(row)


def test_without_the_library_the_booster_itself_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(load: Any) -> Any:
        raise OSError("libxgboost.so: cannot open shared object file")

    monkeypatch.setattr(module, "_library", missing)
    made = prepare(booster("skill_level"))
    slow = scorer(made)
    assert not is_fast(slow)
    assert holding(slow) is None
    row = np.full((1, N), 7, np.float32)
    assert np.array_equal(slow(row), inplace(made, row))


def test_error_of_a_booster_comes_through() -> None:
    with pytest.raises(ValueError, match="broken"):
        scorer(Broken(ValueError("broken")))(np.zeros((1, N), np.float32))  # type: ignore[arg-type]

"""Calibration: maps that keep rows at sum 1, survive their file, and put right what is wrong, on made-up scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstmile.calibration import Calibration, read_calibration
from firstmile.errors import DataError
from training.calibrate import Scored, choose_calibration, fit_calibration, row_losses

METHODS = ("none", "scaling", "isotonic")


def scored(n: int = 2_000, *, n_classes: int = 2, sharpen: float = 1.0, seed: int = 0) -> Scored:
    """Rows whose true probabilities were raised to a power: 1 is calibrated, more is too sure."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.ones(n_classes), n)
    y = np.array([rng.choice(n_classes, p=p) for p in true])
    said = true**sharpen
    return Scored(said / said.sum(axis=1, keepdims=True), y, np.ones(n), np.arange(n))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_rows_sum_to_one_and_the_file_gives_the_same_map(method: str, n_classes: int) -> None:
    rows = scored(n_classes=n_classes, sharpen=3.0)
    made = fit_calibration(method, rows)  # type: ignore[arg-type]
    p = made.apply(rows.p)
    assert p.shape == (2_000, n_classes)
    assert np.allclose(p.sum(axis=1), 1.0)
    assert (p >= 0).all()
    assert (read_calibration(made.as_json()).apply(rows.p) == p).all()


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_model_that_is_too_sure_is_put_right(n_classes: int) -> None:
    chosen, losses = choose_calibration(scored(n_classes=n_classes, sharpen=4.0), None, seed=1)
    fresh = scored(n_classes=n_classes, sharpen=4.0, seed=9)
    assert chosen.method != "none"
    assert losses[chosen.method] < losses["none"]
    assert row_losses(chosen.apply(fresh.p), fresh.y).mean() < row_losses(fresh.p, fresh.y).mean() - 0.1


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_model_that_means_what_it_says_is_left_alone(n_classes: int) -> None:
    assert choose_calibration(scored(n_classes=n_classes), None, seed=1)[0].method == "none"


def test_what_would_not_hold_on_the_judge_is_not_chosen() -> None:
    # Wrong on the rows it is fitted on, right on those it is judged on: the next start.
    assert choose_calibration(scored(sharpen=4.0), scored(seed=3), seed=1)[0].method == "none"


@given(st.floats(0.0, 1.0))
def test_a_scaled_score_of_two_classes_is_platts_sigmoid(score: float) -> None:
    made = Calibration("scaling", 0.7, (0.0, 0.4))
    p = made.apply(np.array([[1 - score, score]]))[0, 1]
    clipped = np.clip([1 - score, score], 1e-6, 1.0)
    assert p == pytest.approx(1 / (1 + np.exp(-(0.7 * np.log(clipped[1] / clipped[0]) + 0.4))))


@pytest.mark.parametrize("text", ["", "{}", '{"method": "magic", "slope": 1, "bias": [], "curves": []}'])
def test_a_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"calibration\.json"):
        read_calibration(text)

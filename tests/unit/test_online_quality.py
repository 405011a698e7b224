"""Quality of answers given before the example was learned, beside the plain formulas; drift of their error."""

import math
import random

import pytest
from sklearn.metrics import log_loss, roc_auc_score

from training.online_quality import Quality


def answers(n: int, *, seed: int, sharpness: float = 1.0) -> list[tuple[float, bool]]:
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        p = rng.random()
        found.append((p, rng.random() < 0.5 + (p - 0.5) * sharpness))
    return found


def test_figures_are_the_plain_formulas_over_the_newest_answers_alone() -> None:
    quality, given = Quality(window=50), answers(180, seed=1)
    for n, (p, y) in enumerate(given, start=1):
        quality.add(p, y)
        newest = given[max(0, n - 50) : n]
        ps, ys = zip(*newest, strict=True)
        figures = quality.figures()
        assert figures["n"] == len(newest)
        assert figures["base_rate"] == pytest.approx(sum(ys) / len(ys))
        assert figures["log_loss"] == pytest.approx(log_loss(ys, ps, labels=[False, True]))
        assert figures["accuracy"] == pytest.approx(sum((p >= 0.5) == y for p, y in newest) / len(newest))
        if 0 < sum(ys) < len(ys):
            assert figures["auc"] == pytest.approx(roc_auc_score(ys, ps))
        else:
            assert math.isnan(figures["auc"])


def test_the_majority_knows_only_the_outcomes_before() -> None:
    quality = Quality(window=10)
    for y in (True, True, False):
        quality.add(0.5, y)
    shares = [1 / 2, 2 / 3, 3 / 4]  # one of each kind to begin with
    losses = [-math.log(shares[0]), -math.log(shares[1]), -math.log(1 - shares[2])]
    assert quality.figures()["log_loss_majority"] == pytest.approx(sum(losses) / 3)


def test_one_certain_mistake_is_no_infinite_loss() -> None:
    quality = Quality(window=10)
    quality.add(1.0, False)
    assert quality.figures()["log_loss"] == pytest.approx(-math.log(1e-6))


def test_nothing_answered_has_no_figures() -> None:
    assert Quality(window=10).figures() == {"n": 0.0}


def test_a_model_that_turns_bad_drifts_and_a_steady_one_does_not() -> None:
    steady, turning = Quality(window=100), Quality(window=100)
    found = []
    for i in range(2_000):
        steady.add(0.2, i % 5 == 0)
        found.append(turning.add(0.2, i % 5 == 0 if i < 1_000 else i % 5 != 0))
    drifts = [(i, d) for i, d in enumerate(found) if d is not None]
    assert (steady.n_drifts, steady.n_drifts_worse) == (0, 0)
    assert turning.n_drifts == len(drifts) >= 1
    assert turning.n_drifts_worse >= 1
    at, first = drifts[0]
    assert 1_000 <= at < 1_200
    assert first.is_worse
    assert first.before < 0.5 < first.since + 0.2

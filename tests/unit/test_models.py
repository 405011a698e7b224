"""The recipe on made-up learners: it learns what there is, stops in time, and does the same twice."""

import numpy as np
import pytest

from training.models import MAX_ROUNDS, Fitter, Rows, probabilities
from training.tasks import TASKS

FEATURES = ("signal", "noise")


def rows(n_users: int = 400, *, n_classes: int = 2, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    student = np.repeat(np.arange(n_users), 2)
    signal = np.repeat(rng.normal(size=n_users), 2)
    y = np.digitize(signal + 0.3 * rng.normal(size=2 * n_users), np.linspace(-1, 1, n_classes + 1)[1:-1])
    x = np.column_stack([signal, rng.normal(size=2 * n_users)])
    return Rows(x, y, np.full(2 * n_users, 0.5), student)


@pytest.mark.parametrize("model", ["activation", "skill_level"])
def test_probabilities_sum_to_one_and_favour_the_true_class(model: str) -> None:
    n_classes = len(TASKS[model].classes)
    fitter = Fitter(model, FEATURES, seed=7)
    p = probabilities(fitter.fit(rows(n_classes=n_classes)), rows(n_classes=n_classes, seed=1).x)
    assert p.shape == (800, n_classes)
    assert np.allclose(p.sum(axis=1), 1.0)
    assert (p.argmax(axis=1) == rows(n_classes=n_classes, seed=1).y).mean() > 0.7


def test_noise_alone_stops_early() -> None:
    data = rows()
    noise = Rows(data.x[:, [1]], data.y, data.weight, data.student)
    assert Fitter("activation", ("noise",), seed=7).fit(noise).num_boosted_rounds() < MAX_ROUNDS // 4


def test_the_same_seed_gives_the_same_model_and_features_keep_their_order() -> None:
    first, second = (Fitter("activation", FEATURES, seed=7).refit(rows()) for _ in range(2))
    assert (probabilities(first, rows().x) == probabilities(second, rows().x)).all()
    assert first.feature_names == list(FEATURES)


def test_a_missing_feature_still_gets_an_answer() -> None:
    booster = Fitter("activation", FEATURES, seed=7).fit(rows())
    assert np.isfinite(probabilities(booster, np.full((1, 2), np.nan))).all()

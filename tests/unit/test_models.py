"""The recipe on made-up learners: it learns what there is, stops in time, and does the same twice."""

from dataclasses import replace

import numpy as np
import pytest

from firstmile.errors import DataError
from training.anchor import ROUNDS as ANCHOR_ROUNDS
from training.masking import MASKED_SHARE, masked, missing_in_turn, without
from training.models import CORRECTION_ROUNDS, MAX_ROUNDS, Fitter, Rows
from training.tasks import TASKS

FEATURES = ("signal", "noise")


def rows(n_users: int = 400, *, n_classes: int = 2, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_users), 2)
    signal = np.repeat(rng.normal(size=n_users), 2)
    y = np.digitize(signal + 0.3 * rng.normal(size=2 * n_users), np.linspace(-1, 1, n_classes + 1)[1:-1])
    x = np.column_stack([signal, rng.normal(size=2 * n_users)])
    return Rows(x, y, np.full(2 * n_users, 0.5), person, np.full(2 * n_users, "AAA_2013J"))


@pytest.mark.parametrize("model", ["activation", "skill_level"])
def test_probabilities_sum_to_one_and_favour_the_true_class(model: str) -> None:
    n_classes = len(TASKS[model].classes)
    fitter = Fitter(model, FEATURES, seed=7)
    p = fitter.fit(rows(n_classes=n_classes)).probabilities(rows(n_classes=n_classes, seed=1).x)
    assert p.shape == (800, n_classes)
    assert np.allclose(p.sum(axis=1), 1.0)
    assert (p.argmax(axis=1) == rows(n_classes=n_classes, seed=1).y).mean() > 0.7


def test_noise_alone_stops_early() -> None:
    noise = rows(n_classes=3).only([1])
    assert Fitter("skill_level", ("noise",), seed=7).fit(noise).booster.num_boosted_rounds() < MAX_ROUNDS // 8


def test_two_classes_are_told_by_the_anchors_first_and_corrected_by_the_rest() -> None:
    features = ("clicks_total_weight", "n_pages")
    booster = Fitter("activation", features, seed=7).fit(rows()).booster
    assert booster.num_boosted_rounds() == ANCHOR_ROUNDS + CORRECTION_ROUNDS
    trees = booster.trees_to_dataframe()
    used = {name: set(part["Feature"]) - {"Leaf"} for name, part in trees.groupby(trees["Tree"] < ANCHOR_ROUNDS)}
    assert used == {True: {"clicks_total_weight"}, False: set(features)}


def test_the_same_seed_gives_the_same_model_and_features_keep_their_order() -> None:
    first, second = (Fitter("activation", FEATURES, seed=7).refit(rows()) for _ in range(2))
    assert first.probabilities(rows().x).shape == (800, 2)
    assert np.array_equal(first.probabilities(rows().x), second.probabilities(rows().x))
    assert first.booster.feature_names == list(FEATURES)


def test_a_missing_feature_still_gets_an_answer() -> None:
    fitted = Fitter("activation", FEATURES, seed=7).fit(rows())
    assert np.isfinite(fitted.probabilities(np.full((1, 2), np.nan))).tolist() == [[True, True]]


def test_having_met_a_missing_group_it_answers_near_the_base_rate_without_it() -> None:
    data = rows(800)
    data = replace(data, x=np.column_stack([data.x[:, 0], data.x[:, 0] > 9]))  # all it can know is in one view
    features = ("n_pages", "prior_attempts")
    fitted = Fitter("activation", features, seed=7).fit(data)
    hidden = fitted.probabilities(without(data.x, features, "user_activity"))[:, 1]
    assert np.abs(hidden.mean() - data.y.mean()) < 0.1
    assert fitted.probabilities(data.x)[:, 1].std() > 0.3


def test_each_row_loses_one_group_at_most_and_each_group_its_share() -> None:
    features = ("n_pages", "opens_quiz", "prior_attempts")
    out = masked(np.zeros((20_000, 3)), features, seed=1)
    activity, profile = np.isnan(out[:, 0]), np.isnan(out[:, 2])
    assert (np.isnan(out[:, 1]) == activity).all()
    assert not (activity & profile).any()
    assert [activity.mean(), profile.mean()] == pytest.approx([MASKED_SHARE, MASKED_SHARE], abs=0.01)


def test_in_turn_is_what_random_masking_gives_on_average() -> None:
    features = ("n_pages", "opens_quiz", "prior_attempts")
    x, of, part = missing_in_turn(np.arange(6.0).reshape(2, 3), features)
    assert np.bincount(of, weights=part).tolist() == pytest.approx([1.0, 1.0])
    assert (np.isnan(x) * part[:, None]).sum(axis=0).tolist() == pytest.approx([2 * MASKED_SHARE] * 3)
    assert (x[:2] == np.arange(6.0).reshape(2, 3)).all()
    assert (np.nansum(x, axis=1) > 0).all()  # nobody lacks everything


def test_features_are_asked_for_by_name_and_a_missing_one_is_said() -> None:
    data = rows()
    fitted = Fitter("activation", FEATURES, seed=7).fit(data)
    turned = np.column_stack([data.x[:, 1], np.zeros(len(data.y)), data.x[:, 0]])
    found = fitted.by_name(turned, ["noise", "new", "signal"])
    assert np.array_equal(found, fitted.probabilities(data.x))
    with pytest.raises(DataError, match="not there: signal"):
        fitted.by_name(turned, ["noise", "new", "later"])

"""What the verb says and shows of a learner; its settings to bounds."""

from collections import Counter

import pytest
from online_builder import FEATURES, opened, shown, state

from firstmile.setting_sections import LearningSettings
from firstmile.settings import Settings
from training.learn import bounds_of, describe, recipe_of, summary
from training.online_join import Example
from training.online_metrics import LearnMetrics
from training.online_register import leader, offer
from training.online_state import READ_COUNTS, Batch, State


def taught(*, n: int = 30) -> State:
    """A learner of n decisions, every third of them opened."""
    learner = state()
    batch = Batch(clocks={("t", 0): shown("r", at=10_000).decided_us})
    batch.counts["n_decisions"] += n
    for i in range(n):
        batch.shown.append(shown(f"r{i:02}", user=f"u{i}", at=i, row=(float(i % 3), 1.0, float("nan"))))
        if i % 3 == 0:
            batch.opened.append(opened(user=f"u{i}", at=i + 1))
    for example in learner.join(batch):
        learner.learn(example)
    return learner


def figures(learner: State) -> dict[str, dict[str, float]]:
    return {name: quality.figures() for name, quality in learner.quality.items()}


def values(metrics: LearnMetrics) -> dict[tuple[str, ...], float]:
    samples = [s for family in metrics.registry.collect() for s in family.samples]
    return {(s.name, *s.labels.values()): s.value for s in samples}


def test_the_page_shows_the_learners_own_counts_however_often_they_are_shown() -> None:
    learner, metrics = taught(), LearnMetrics()
    now_us = learner.joiner.watermark_us + 5_000_000
    # Feast, once imported, makes prometheus_client keep values per process and name: another test may have counted.
    before = Counter(values(metrics))
    for _ in range(2):
        metrics.show(learner, figures(learner), now_us=now_us)
        found = values(metrics)
        more = {name: value - before[name] for name, value in found.items()}
        assert more["firstmile_learn_examples_total", "true"] == 10
        assert more["firstmile_learn_examples_total", "false"] == 20
        assert more["firstmile_learn_records_total", "decisions"] == 30
        assert more["firstmile_learn_records_total", "late"] == 0
        assert more["firstmile_learn_drifts_total", "tree", "worse"] == 0
        assert found["firstmile_learn_behind_seconds",] == 5.0
        assert found["firstmile_learn_quality", "tree", "n"] == 30
        assert ("firstmile_learn_versions_total", "failed") in found


def test_the_line_says_how_much_was_learned_and_how_well_beside_knowing_nothing() -> None:
    assert describe(state(), figures(state())) == "nothing learned yet, 0 decisions wait for their window to close"
    line = describe(taught(), figures(taught()))
    assert line.startswith("30 learned, 33.3% opened, 0 open; log loss logistic 0.")
    assert line.endswith("by the share of opens)")


def test_the_result_has_every_count_and_both_models() -> None:
    said = summary(taught(), figures(taught()))
    assert (said["n_learned"], said["n_opened"], said["n_open"]) == (30, 10, 0)
    assert set() < set(READ_COUNTS) < set(said["counts"])
    assert set(said["quality"]) == {"logistic", "tree"}


def test_the_model_ahead_is_the_one_with_the_lower_log_loss() -> None:
    assert leader({"tree": {"n": 0.0}, "logistic": {"n": 0.0}}) == "logistic"
    assert leader({"tree": {"log_loss": 0.1}, "logistic": {"log_loss": 0.2}}) == "tree"


def test_an_offer_does_not_change_when_the_learner_goes_on() -> None:
    learner = taught()
    offered = offer(learner, figures(learner))
    before = repr(offered)
    learner.learn(Example("more", shown("more").vector, True))
    assert learner.n_learned == 31
    assert repr(offered) == before
    assert offered.n_learned == 30
    assert offered.document["features"] == list(FEATURES)


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_seconds_of_the_settings_become_microseconds(seconds: float) -> None:
    settings = Settings(learning=LearningSettings(window_s=1.5, lateness_s=seconds))
    bounds = bounds_of(settings)
    assert (bounds.window_us, bounds.lateness_us) == (1_500_000, int(seconds * 1_000_000))
    assert bounds.wait_us == bounds.window_us + bounds.lateness_us
    assert recipe_of(settings).window_s == 1.5

"""The bounds of the data quality gate as a file, and the figures they are held against."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quality_builder import P, training_set

from feature_repo.services import model_features
from firstmile.errors import DataError
from firstmile.setting_sections import TrainingSettings
from firstmile.vocabulary import MODELS
from training.expectations import label_suite, set_suite, vector_suite
from training.quality_bounds import product_bounds, read_bounds
from training.quality_last import beside_last, figures_of, read_last, write_last
from training.quality_sets import groups, set_figures, vector_frame
from training.tasks import TASKS

BOUNDS = TrainingSettings().quality


def edited(folder: Path, old: str, new: str) -> Path:
    """The shipped file with one thing changed."""
    text = BOUNDS.read_text(encoding="utf-8")
    assert old in text
    path = folder / "quality.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_shipped_bounds_say_something_of_every_feature_of_every_model() -> None:
    bounds = product_bounds(read_bounds(BOUNDS), {})
    for model in MODELS:
        features = model_features(model)
        held = {e.arguments["column"] for e in vector_suite(features, bounds) if "column" in e.arguments}
        assert held == set(features)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("max_change: 0.1", "max_change: 1.1", r"line \d+: labels.max_change: Input should be less than or equal to 1"),
        ("against_last: [0.7, 1.5]", "against_last: [1.5, 0.7]", r"line \d+: volume.against_last: .*\[least, most\]"),
        ("min_users: 50", "min_user: 50", r"line \d+: volume.min_user"),
        ("user_activity:", "user_activities:", "unknown view 'user_activities'; known: content_stats, user_activity"),
        ("  max_change:", "  shares: {activation: {}}\n  max_change:", "belong into its labels.yaml"),
    ],
)
def test_a_wrong_bound_is_refused_with_its_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(DataError, match=f"quality.yaml, .*{complaint}"):
        read_bounds(edited(tmp_path, old, new))


def test_a_feature_without_bounds_is_named_with_the_line_to_add(tmp_path: Path) -> None:
    bounds = read_bounds(edited(tmp_path, 'names: "n_*"', 'names: "m_*"'))
    with pytest.raises(DataError, match=r"no pattern under `features` fits n_contents; there are \*_24h_count, .*Add"):
        vector_suite(model_features("activation"), bounds)


def test_the_first_fitting_pattern_counts() -> None:
    bounds = read_bounds(BOUNDS)
    assert bounds.of_feature("events_24h_count").names == "*_24h_count"
    assert bounds.of_feature("events_7d_count").names == "*_count"


def test_a_class_nobody_gave_bounds_gets_those_of_otherwise() -> None:
    bounds = product_bounds(read_bounds(BOUNDS), {"activation": {"yes": (0.4, 0.99)}})
    shares = {e.arguments["column"]: e.arguments for e in set_suite(["activation"], bounds) if "column" in e.arguments}
    assert (shares["share_activation_no"]["min_value"], shares["share_activation_no"]["max_value"]) == (0, 0.99)
    assert shares["share_activation_yes"]["min_value"] == 0.4


def test_a_task_holds_its_own_classes_and_days() -> None:
    allowed = {
        e.arguments["column"]: e.arguments["value_set"]
        for e in label_suite(TASKS["skill_level"])
        if "value_set" in e.arguments
    }
    assert allowed == {"label": [0, 1, 2], "judged_label": [-1, 0, 1, 2], "day": [0, 1, 3, 7, 14, 28]}


def test_models_that_read_the_same_features_share_their_vectors_each_once() -> None:
    sets = {m: training_set(m, n_users=4) for m in ("activation", "disengagement")}
    assert groups(sets) == [["activation", "disengagement"]]
    # Days 0 and 14 of one, 0 and 28 of the other: day 0 is the same vector.
    assert len(vector_frame(sets)) == 4 * 3


def test_figures_are_per_model_and_cohort() -> None:
    sets = {m: training_set(m, n_users=10) for m in ("activation", "skill_level")}
    sets["activation"].counts[0]["left_out:no row in the history"] = 5
    frame = set_figures(sets).set_index("of")
    activation = frame.loc[f"activation {P}"]
    assert (activation["n_rows"], activation["n_users"]) == (20, 10)
    assert activation["share_activation_yes"] == pytest.approx(0.8)
    assert activation["without_history"] == pytest.approx(5 / 20)
    assert np.isnan(activation["share_skill_level_beginner"])
    assert frame.loc[f"skill_level {P}", "share_skill_level_beginner"] == pytest.approx(0.1)


def test_figures_are_compared_with_the_last_run_of_the_same() -> None:
    frame = pd.DataFrame({"of": ["a", "b"], "n_rows": [50, 7], "share_yes": [0.9, 0.5]})
    beside = beside_last(frame, {"a": {"n_rows": 100.0, "share_yes": 0.2}, "c": {"n_rows": 1.0}})
    assert beside["times_last"].tolist() == pytest.approx([0.5, np.nan], nan_ok=True)
    assert beside["change_yes"].tolist() == pytest.approx([0.7, np.nan], nan_ok=True)


def test_the_first_run_has_nothing_to_be_compared_with() -> None:
    beside = beside_last(pd.DataFrame({"of": ["a"], "n_rows": [50], "share_yes": [0.9]}), {})
    assert beside[["times_last", "change_yes"]].isna().values.tolist() == [[True, True]]


def test_a_run_over_fewer_presentations_leaves_the_figures_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "quality" / "last.json"
    write_last(path, {"a": {"n_rows": 1.0}, "b": {"n_rows": 2.0}})
    write_last(path, figures_of(pd.DataFrame({"of": ["b"], "n_rows": [3], "age_hours": [1.0]})))
    assert read_last(path) == {"a": {"n_rows": 1.0}, "b": {"n_rows": 3.0}}


def test_figures_that_are_no_figures_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "last.json").write_text('{"a": 3}')
    with pytest.raises(DataError, match=r"last\.json does not hold the figures of a run .*delete it"):
        read_last(tmp_path / "last.json")

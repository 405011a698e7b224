"""The data quality gate on real Great Expectations: each planted fault fails by the name of what was expected."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from conftest import FreeSettings
from quality_builder import P, training_set, write_history, write_lake

from examples.oulad.learning.history import history_ends_us
from examples.oulad.tables.calendar import CALENDAR
from examples.oulad.tables.tables import day_start_us
from firstmile.clock import Clock, FixedClock
from firstmile.errors import DataError, GateError
from firstmile.setting_sections import TrainingSettings
from firstmile.settings import Settings
from training.data_docs import DataDocs, Failure
from training.dataset import TrainingSet
from training.expectations import label_suite, set_suite, vector_suite
from training.quality import N_KEPT, QualityGate
from training.quality_bounds import product_bounds, read_bounds
from training.quality_lake import lake_figures, lake_files
from training.quality_last import beside_last, figures_of
from training.quality_sets import label_frame, set_figures
from training.tasks import TASKS

NOW_US = day_start_us("AAA_2014J", 400)
HOUR_US = 3_600_000_000
LAST_DAY = 28
BOUNDS = product_bounds(read_bounds(TrainingSettings().quality), {"activation": {"yes": (0.4, 0.99)}})
BETWEEN = "expect_column_values_to_be_between"
NOT_NULL = "expect_column_values_to_not_be_null"


@pytest.fixture
def settings(free_settings: FreeSettings) -> Settings:
    return free_settings()


def gate(settings: Settings, *, clock: Clock | None = None) -> QualityGate:
    return QualityGate(settings, clock=clock or FixedClock(NOW_US))


def sources(settings: Settings) -> QualityGate:
    made = gate(settings)
    made.check_sources([P], last_day=LAST_DAY)
    return made


def page(error: GateError) -> str:
    """The text of the Data Docs page an error names."""
    address = str(error).split("Data Docs: ")[1].split(".html")[0] + ".html"
    return Path(unquote(urlsplit(address).path)).read_text(encoding="utf-8")


# What is learned from -----------------------------------------------------------------------------------------------


def failing(folder: Path, frame: pd.DataFrame, *features: str) -> list[Failure]:
    return DataDocs(folder).run("vectors", vector_suite(features, BOUNDS), frame)


def vectors(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"events_7d_count": [0.0, 3.0], "prior_attempts": [1.0, 0.0], **columns})


def test_vectors_within_their_bounds_hold(tmp_path: Path) -> None:
    assert failing(tmp_path, vectors(), "events_7d_count", "prior_attempts") == []


def test_a_negative_count_is_shown(tmp_path: Path) -> None:
    (found,) = failing(tmp_path, vectors(events_7d_count=[-1.0, 3.0]), "events_7d_count", "prior_attempts")
    assert (found.expectation, found.column) == (BETWEEN, "events_7d_count")
    assert "1 of 2 rows, for example -1.0; allowed: min_value 0.0, max_value 100000.0" in found.text()


def test_one_missing_count_is_too_many(tmp_path: Path) -> None:
    (found,) = failing(tmp_path, vectors(events_7d_count=[np.nan, 3.0]), "events_7d_count", "prior_attempts")
    assert (found.expectation, found.column) == (NOT_NULL, "events_7d_count")
    assert found.text().endswith("1 of 2 rows, for example nan; allowed: none")


def test_a_column_that_may_be_missing_may_not_be_missing_everywhere(tmp_path: Path) -> None:
    (found,) = failing(tmp_path, vectors(prior_attempts=[np.nan, np.nan]), "events_7d_count", "prior_attempts")
    assert found.expectation == "expect_column_proportion_of_non_null_values_to_be_between"
    assert "prior_attempts: observed 0.0; allowed: min_value 0.8" in found.text()


def test_a_dropped_column_is_named_first(tmp_path: Path) -> None:
    frame = vectors().drop(columns="prior_attempts")
    found = failing(tmp_path, frame, "events_7d_count", "prior_attempts")
    assert found[0].expectation == "expect_table_columns_to_match_ordered_list"
    assert "missing ['prior_attempts'], not expected []" in found[0].text()
    assert {f.column for f in found[1:]} == {"prior_attempts"}


def test_columns_in_another_order_do_not_hold(tmp_path: Path) -> None:
    (found,) = failing(tmp_path, vectors(), "prior_attempts", "events_7d_count")
    assert "another order" in found.text()


def wrong_class(data: TrainingSet) -> pd.DataFrame:
    return label_frame(data).replace({"label": {1: 2}})


def other_day(data: TrainingSet) -> pd.DataFrame:
    return label_frame(data).replace({"day": {14: 13}})


def seen_twice(data: TrainingSet) -> pd.DataFrame:
    frame = label_frame(data)
    return pd.concat([frame, frame.iloc[[0]]], ignore_index=True)


def no_weight(data: TrainingSet) -> pd.DataFrame:
    return label_frame(data).assign(weight=0.0)


def looked_nowhere(data: TrainingSet) -> pd.DataFrame:
    return label_frame(data).assign(until_day=0)


def half_labels(data: TrainingSet) -> pd.DataFrame:
    return label_frame(data).astype({"label": "float64"})


@pytest.mark.parametrize(
    ("plant", "expectation", "column"),
    [
        (wrong_class, "expect_column_values_to_be_in_set", "label"),
        (other_day, "expect_column_values_to_be_in_set", "day"),
        (seen_twice, "expect_compound_columns_to_be_unique", ""),
        (no_weight, BETWEEN, "weight"),
        (looked_nowhere, "expect_column_pair_values_a_to_be_greater_than_b", "until_day and day"),
        (half_labels, "expect_column_values_to_be_of_type", "label"),
    ],
)
def test_labels_that_are_no_labels_are_shown(
    tmp_path: Path, plant: Callable[[TrainingSet], pd.DataFrame], expectation: str, column: str
) -> None:
    frame = plant(training_set("activation"))
    (found,) = DataDocs(tmp_path).run("labels", label_suite(TASKS["activation"]), frame)
    assert (found.expectation, found.column) == (expectation, column)


def against(folder: Path, last: TrainingSet, data: TrainingSet) -> set[str]:
    """Columns of the figures that do not hold beside the last run's."""
    kept = figures_of(set_figures({data.model: last}))
    frame = beside_last(set_figures({data.model: data}), kept)
    return {f.column for f in DataDocs(folder).run("sets", set_suite([data.model], BOUNDS), frame)}


def test_the_same_set_again_holds(tmp_path: Path) -> None:
    assert against(tmp_path, training_set(), training_set()) == set()


def test_flipped_labels_break_both_the_rate_and_its_change(tmp_path: Path) -> None:
    columns = against(tmp_path, training_set(share=0.8), training_set(share=0.2))
    assert columns == {"share_activation_yes", "change_activation_no", "change_activation_yes"}


def test_half_the_rows_of_the_last_run_are_too_few(tmp_path: Path) -> None:
    assert against(tmp_path, training_set(n_users=200), training_set(n_users=100)) == {"times_last"}


def test_a_handful_of_users_is_too_few_even_for_a_first_run(tmp_path: Path) -> None:
    frame = beside_last(set_figures({"activation": training_set(n_users=10)}), {})
    (found,) = DataDocs(tmp_path).run("sets", set_suite(["activation"], BOUNDS), frame)
    assert "n_users: 1 of 1 rows, for example" in found.text()
    assert f"activation {P}" in found.text()


def test_a_cohort_of_which_nobody_is_left_is_shown(tmp_path: Path) -> None:
    frame = beside_last(set_figures({"activation": training_set()}, starts=["AAA_2014J", P]), {})
    (found,) = DataDocs(tmp_path).run("sets", set_suite(["activation"], BOUNDS), frame)
    assert "n_users: 1 of 2 rows, for example" in found.text()
    assert "activation AAA_2014J" in found.text()


def test_labelled_users_the_history_does_not_know_are_shown(tmp_path: Path) -> None:
    data = training_set()
    data.counts[0]["left_out:no row in the history"] = 50
    assert against(tmp_path, data, data) == {"without_history"}


# The gate as a whole ------------------------------------------------------------------------------------------------


def test_clean_data_holds_and_becomes_what_the_next_run_is_compared_with(
    settings: Settings, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_history(settings.home)
    first = sources(settings)
    first.check_sets({"activation": training_set()})
    report = first.report()
    assert Path(urlsplit(report["data_docs"]).path).exists()
    assert (report["n_suites"], report["n_lake_files"]) == (5, 0)
    said = capsys.readouterr()
    expected = f"quality: {report['n_expectations']} expectations of 5 suites hold (no lake yet), Data Docs at file://"
    assert expected in said.err
    assert said.out == ""
    assert "Calculating Metrics" not in said.err
    assert not [record for record in caplog.records if record.name.startswith("great_expectations")]
    kept = (settings.home / "quality" / "last.json").read_bytes()
    halved = gate(settings, clock=FixedClock(NOW_US + 1))
    halved.check_sources([P], last_day=LAST_DAY)
    with pytest.raises(
        GateError,
        match=rf"sets: {BETWEEN} times_last: 1 of 1 rows, for example 0\.5 of activation {P}; allowed: min_value 0\.7",
    ) as refused:
        halved.check_sets({"activation": training_set(n_users=50)})
    assert refused.value.exit_code == 1
    assert "times_last" in page(refused.value)
    # A run that was refused is not the measure of the next: or asking twice would do.
    assert (settings.home / "quality" / "last.json").read_bytes() == kept


def test_a_vector_as_wide_as_nobody_said_is_refused(settings: Settings) -> None:
    data = training_set()
    narrow = replace(data, rows=replace(data.rows, x=data.rows.x[:, 1:]))
    with pytest.raises(
        DataError, match=r"the vectors of activation have shape \(200, 67\) for 200 users and 68 features"
    ):
        gate(settings).check_sets({"activation": narrow})


def test_only_the_newest_sites_are_kept(settings: Settings) -> None:
    write_history(settings.home, to_day=27)
    for i in range(N_KEPT):
        (settings.home / "quality" / f"2013-01-01T00-00-{i:02d}.000000Z").mkdir(parents=True)
    with pytest.raises(GateError):
        sources(settings)
    left = sorted(path.name for path in (settings.home / "quality").iterdir())
    assert len(left) == N_KEPT
    assert left[0] == "2013-01-01T00-00-01.000000Z"


# What it is made of -------------------------------------------------------------------------------------------------


def test_history_that_stops_before_the_last_snapshot_is_stale(settings: Settings) -> None:
    write_history(settings.home, to_day=27)
    with pytest.raises(GateError, match=rf"history: {BETWEEN} days_short: 1 of 1 rows.*history {P}") as refused:
        sources(settings)
    assert "days_short" in page(refused.value)


def test_a_live_row_does_not_hide_that_recorded_history_stops_early(settings: Settings) -> None:
    write_history(settings.home, to_day=27)
    write_history(settings.home, to_day=4_000, n_users=1, name="live")
    with pytest.raises(GateError, match="days_short"):
        sources(settings)


def test_recorded_history_ends_when_it_did_though_a_learner_of_it_is_played_live(settings: Settings) -> None:
    write_history(settings.home, to_day=30)
    write_history(settings.home, n_users=1, to_day=4_000, name="live")
    write_history(settings.home, n_users=1, to_day=20, name="shorter")
    assert history_ends_us(settings) == {P: day_start_us(P, 30) + 1}


def test_a_cohort_the_history_does_not_know_is_shown(settings: Settings) -> None:
    write_history(settings.home)
    with pytest.raises(GateError, match=r"n_users: 1 of 2 rows.*history AAA_2014J"):
        gate(settings).check_sources([P, "AAA_2014J"], last_day=LAST_DAY)


def test_a_history_file_without_a_column_is_named_before_anything_is_read(settings: Settings) -> None:
    write_history(settings.home)
    write_history(settings.home, drop="activity", name="broken")
    with pytest.raises(GateError, match=rf"columns_user_activity: {NOT_NULL} activity: .*broken\.parquet"):
        sources(settings)


def test_the_same_row_in_two_files_is_shown(settings: Settings) -> None:
    write_history(settings.home)
    write_history(settings.home, name="again")
    with pytest.raises(GateError, match=rf"history: {BETWEEN} n_twice"):
        sources(settings)


def test_a_lake_file_in_no_manifest_is_not_read(settings: Settings) -> None:
    write_history(settings.home)
    write_lake(settings.home, [NOW_US - HOUR_US])
    write_lake(settings.home, [NOW_US - HOUR_US], name="killed", is_noted=False, weight=-5)
    report = sources(settings).report()
    assert (report["n_lake_files"], report["n_lake_files_left_out"]) == (1, 1)
    write_lake(settings.home, [NOW_US - HOUR_US], name="killed", weight=-5)
    with pytest.raises(GateError, match=rf"lake_files: {BETWEEN} least_weight: 1 of 2 rows.*killed\.parquet"):
        sources(settings)


def test_a_lake_nobody_writes_to_any_more_is_stale(settings: Settings) -> None:
    write_history(settings.home)
    write_lake(settings.home, [NOW_US - 169 * HOUR_US, NOW_US - 400 * HOUR_US])
    with pytest.raises(GateError, match=rf"lake: {BETWEEN} age_hours: .*169\.0.*max_value 168"):
        sources(settings)


def test_recorded_history_in_the_lake_is_not_stale_however_old(settings: Settings) -> None:
    write_history(settings.home)
    write_lake(settings.home, [day_start_us(P, 3)], user=f"{P}-1")
    report = sources(settings).report()
    assert (report["n_suites"], report["n_lake_files"]) == (5, 1)
    assert lake_figures(lake_files(settings.lake), CALENDAR, now_us=NOW_US)["age_hours"].isna().tolist() == [True]


def test_recorded_users_played_live_are_as_fresh_as_their_newest_event(settings: Settings) -> None:
    write_history(settings.home)
    write_lake(settings.home, [day_start_us(P, 3), NOW_US - 169 * HOUR_US], user=f"{P}-1")
    with pytest.raises(GateError, match="age_hours"):
        sources(settings)


def test_a_lake_file_cut_short_is_shown(settings: Settings) -> None:
    write_history(settings.home)
    write_lake(settings.home, [NOW_US] * 3)
    write_lake(settings.home, [NOW_US] * 2, name="b")
    write_lake(settings.home, [NOW_US], name="b", is_noted=False)  # over the file, not over its entry
    with pytest.raises(GateError, match=r"lake_files: expect_column_pair_values_to_be_equal n_rows and n_noted"):
        sources(settings)


def test_a_lake_without_a_column_is_shown(settings: Settings) -> None:
    write_history(settings.home)
    write_lake(settings.home, [NOW_US], drop="weight")
    with pytest.raises(GateError, match=r"columns_lake: expect_table_columns_to_match_set .*missing \['weight'\]"):
        sources(settings)


def test_a_lake_may_have_columns_nobody_asked_for(settings: Settings, tmp_path: Path) -> None:
    from training.expectations import column_suite
    from training.quality_files import column_types

    path = write_lake(settings.home, [NOW_US])
    types = {name: kind for name, kind in BOUNDS.lake.columns.items() if name != "weight"}
    frame = column_types([path])
    assert DataDocs(tmp_path / "loose").run("lake", column_suite(types, exactly=False), frame) == []
    (found,) = DataDocs(tmp_path / "exact").run("lake", column_suite(types, exactly=True), frame)
    assert "not expected ['weight']" in found.text()


def test_a_file_that_is_not_parquet_is_named(settings: Settings) -> None:
    write_history(settings.home).write_bytes(b"no")
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file"):
        sources(settings)


def test_a_manifest_entry_that_is_none_is_named(settings: Settings) -> None:
    write_history(settings.home)
    write_lake(settings.home, [NOW_US])
    (settings.home / "lake" / "manifest" / "a.json").write_text("{}")
    with pytest.raises(DataError, match=r"a\.json is not a manifest entry .*restore it"):
        sources(settings)

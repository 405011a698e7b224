"""What is expected of the data, as plain values: suites of Great Expectations' own expectations, made from the bounds.

Nothing here looks at data or loads Great Expectations; data_docs.py runs a suite against a frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from feature_repo.content_features import MAX_CANDIDATES, RANKER_FEATURES
from training.labelled import NOT_JUDGED
from training.quality_bounds import Bounds, Range, Types
from training.quality_ranking import GROUP_COLUMNS, LEAST, MISSING, MOST
from training.task import RANKING, Task
from training.tasks import TASKS

USER_TYPES: Final = {
    "user_id": "object",
    "cohort": "object",
    "person": "int64",
    "day": "int64",
    "label": "int64",
    "judged_label": "int64",
    "until_day": "int64",
    "now_us": "int64",
    "weight": "float64",
}
"""Columns of a set's users, in order, and their numpy types."""


@dataclass(frozen=True)
class Expectation:
    """One expectation.

    name
        As Great Expectations calls it: expect_column_values_to_be_between, ….
    arguments
        Its own.
    """

    name: str
    arguments: Mapping[str, Any]


Suite = list[Expectation]


def column_suite(types: Types, *, exactly: bool) -> Suite:
    """Of a frame of `column_types`: every file has these columns with these types; `exactly`, and no other."""
    columns = {"column_set": ["file", *types], "exact_match": exactly}
    table = Expectation("expect_table_columns_to_match_set", columns)
    cells = [e for name, kind in types.items() for e in (_never_missing(name), _one_of(name, [kind]))]
    return [table, *cells]


def history_suite(bounds: Bounds, *, grows: bool = False) -> Suite:
    """Of a frame of `history_figures`: enough, whole, each row once, up to the last snapshot day.

    grows
        Whether it is of users who still come, so that many times the last run's rows are no fault.
    """
    return [
        *_volume(bounds, grows=grows),
        _between("n_without_row", (0, 0)),
        _between("n_twice", (0, 0)),
        _between("least_bytes", bounds.history.row_bytes),
        _between("most_bytes", bounds.history.row_bytes),
        _at_most("days_short", bounds.history.max_days_short),
    ]


def file_suite(bounds: Bounds) -> Suite:
    """Of a frame of `file_figures`: what the manifest notes is there, and is events."""
    return [
        Expectation("expect_column_pair_values_to_be_equal", {"column_A": "n_rows", "column_B": "n_noted"}),
        _between("n_without_user", (0, 0)),
        _between("n_without_time", (0, 0)),
        _between("n_twice", (0, 0)),
        _between("least_weight", bounds.lake.weight),
        _between("most_weight", bounds.lake.weight),
        _at_most("unknown_share", bounds.lake.max_unknown),
    ]


def lake_suite(bounds: Bounds) -> Suite:
    """Of a frame of `lake_figures` beside the last run's: it has not shrunk, and is not silent.

    It grows for as long as there are users, so that many times the last run's rows are no fault.
    """
    least = bounds.volume.against_last[0]
    return [
        Expectation("expect_column_values_to_be_between", {"column": "times_last", "min_value": least}),
        _at_most("age_hours", bounds.lake.max_age_hours),
    ]


def vector_suite(features: Sequence[str], bounds: Bounds) -> Suite:
    """Of vectors, one column per feature: these in this order, each within its bounds.

    Raises DataError for a feature that no line of the bounds fits.
    """
    suite = [Expectation("expect_table_columns_to_match_ordered_list", {"column_list": list(features)})]
    for name in features:
        of = bounds.of_feature(name)
        if of.max_missing == 0:
            suite.append(_never_missing(name))
        elif of.max_missing < 1:
            known = {"column": name, "min_value": 1 - of.max_missing}
            suite.append(Expectation("expect_column_proportion_of_non_null_values_to_be_between", known))
        if of.between is not None:
            suite.append(_between(name, of.between))
    return suite


def label_suite(task: Task) -> Suite:
    """Of a set's users and their weights: labels in the task's classes, at the task's days, each user and day once."""
    types = [
        Expectation("expect_column_values_to_be_of_type", {"column": name, "type_": kind})
        for name, kind in USER_TYPES.items()
        if kind != "object"
    ]
    return [
        Expectation("expect_table_columns_to_match_ordered_list", {"column_list": list(USER_TYPES)}),
        *types,
        _never_missing("user_id"),
        _never_missing("cohort"),
        _one_of("label", list(range(len(task.classes)))),
        _one_of("judged_label", [NOT_JUDGED, *range(len(task.classes))]),
        _one_of("day", list(task.snapshot_days)),
        Expectation("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "until_day", "column_B": "day"}),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "weight", "min_value": 0, "max_value": 1, "strict_min": True},
        ),
        Expectation("expect_compound_columns_to_be_unique", {"column_list": ["user_id", "day"]}),
    ]


def set_suite(models: Sequence[str], bounds: Bounds, *, grows: bool = False) -> Suite:
    """Of a frame of `set_figures` beside the last run's: enough of each cohort, labelled as it should be.

    grows
        As of `history_suite`.
    """
    change = bounds.labels.max_change
    suite = [*_volume(bounds, grows=grows), _at_most("without_history", bounds.labels.max_without_history)]
    for model in models:
        for name in TASKS[model].classes:
            suite.append(_between(f"share_{model}_{name}", bounds.labels.of_class(model, name)))
            suite.append(_between(f"change_{model}_{name}", (-change, change)))
    return suite


def group_suite() -> Suite:
    """Of the ranker's groups: each user and day once, candidates to choose from, a label that looks ahead."""
    counts = [_between(name, (0, MAX_CANDIDATES)) for name in ("n_candidates", "n_openings")]
    return [
        Expectation("expect_table_columns_to_match_ordered_list", {"column_list": list(GROUP_COLUMNS)}),
        _never_missing("user_id"),
        _one_of("day", list(RANKING.snapshot_days)),
        Expectation("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "until_day", "column_B": "day"}),
        *counts,
        Expectation(
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "n_candidates", "column_B": "n_openings", "or_equal": True},
        ),
        Expectation("expect_compound_columns_to_be_unique", {"column_list": ["user_id", "day"]}),
    ]


def extreme_suite(bounds: Bounds) -> Suite:
    """Of a frame of `extreme_frame`: every feature of the ranker within the bounds `ranking` has for it.

    Raises DataError for a feature that no line fits.
    """
    suite: Suite = []
    for name in RANKER_FEATURES:
        of = bounds.of_ranker_feature(name)
        suite.append(_at_most(MISSING + name, of.max_missing))
        if of.between is not None:
            suite += [_between(LEAST + name, of.between), _between(MOST + name, of.between)]
    return suite


def ranking_suite(bounds: Bounds) -> Suite:
    """Of a frame of `ranking_figures` beside the last run's: enough groups, opened as they should be."""
    return [
        *_volume(bounds, grows=False),
        _at_most("without_history", bounds.labels.max_without_history),
        _between("opened_share", bounds.ranking.opened_share),
        _at_most("lost_share", bounds.ranking.max_lost),
    ]


def _volume(bounds: Bounds, *, grows: bool) -> Suite:
    least, most = bounds.volume.against_last
    users = {"column": "n_users", "min_value": bounds.volume.min_users}
    rows = {"column": "times_last", "min_value": least, **({} if grows else {"max_value": most})}
    return [Expectation("expect_column_values_to_be_between", each) for each in (users, rows)]


def _between(column: str, allowed: Range) -> Expectation:
    arguments = {"column": column, "min_value": allowed[0], "max_value": allowed[1]}
    return Expectation("expect_column_values_to_be_between", arguments)


def _at_most(column: str, most: float) -> Expectation:
    return Expectation("expect_column_values_to_be_between", {"column": column, "max_value": most})


def _one_of(column: str, values: list[Any]) -> Expectation:
    return Expectation("expect_column_values_to_be_in_set", {"column": column, "value_set": values})


def _never_missing(column: str) -> Expectation:
    return Expectation("expect_column_values_to_not_be_null", {"column": column})

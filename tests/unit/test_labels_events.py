"""A product's labels, on events few enough to read: what counts at the edges of day N and of the horizon."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.oulad.learning.preference import LEARNED_FORMATS
from firstmile.clock import MICROS_PER_DAY
from firstmile.errors import DataError
from training.cohorts import LEAST_EXAMINED, cohorts, judged_days
from training.labelled import Labelled
from training.labels_events import check_names, event_labels
from training.labels_file import FORMS, AnyLabel, LabelFile, read_labels, task_of
from training.split import begins_on, judged_by

BEGAN = 20_000 * MICROS_PER_DAY + 5_000_000  # not at midnight: days are counted from the sign-up
DAY = MICROS_PER_DAY
LATE = BEGAN + 400 * DAY
Event = tuple[str, str, int] | tuple[str, str, int, str, str]

ACTIVATION = {"reached": {"events": ["Project Created"]}, "within_days": 28, "snapshot_days": [7], "delay_days": 0}
DISENGAGEMENT = {"none_of": {"events": "any"}, "for_days": 14, "snapshot_days": [7]}
LEVEL = {
    "levels": {
        "beginner": None,
        "intermediate": {"families": ["feature_use"], "count": 2},
        "advanced": {"events": ["Key Created"]},
    },
    "within_days": 28,
    "snapshot_days": [7],
}
PREFERENCE = {"for_days": 7, "snapshot_days": [7], "formats": list(LEARNED_FORMATS)}


def labelled(model: str, spec: dict[str, object], *events: Event, ends_us: int = LATE) -> Labelled:
    """Labels of user u, who signs up at BEGAN, and of whoever else the events name."""
    rows = [("u", "Signed Up", BEGAN), *events]
    columns = ["user_id", "name", "event_us", "family", "format"]
    frame = pd.DataFrame([(*row, "", "")[:5] for row in rows], columns=columns)
    return event_labels(LabelFile({model: form_of(spec).model_validate(spec)}), frame, ends_us=ends_us)[model]


def form_of(spec: Mapping[str, object]) -> type[AnyLabel]:
    return next(form for key, form in FORMS.items() if key in spec)


def label_of(made: Labelled, user: str = "u") -> int | None:
    found = made.rows.loc[made.rows["user_id"] == user, "label"].tolist()
    return found[0] if found else None


@pytest.mark.parametrize(
    ("at_us", "expected"),
    [
        (BEGAN + 8 * DAY - 1, None),  # the last microsecond of day 7: reached already, nobody asks any more
        (BEGAN + 8 * DAY, 1),
        (BEGAN + 28 * DAY - 1, 1),  # the last microsecond of 28 days
        (BEGAN + 28 * DAY, 0),
    ],
)
def test_activation_counts_from_after_day_n_to_the_end_of_the_horizon(at_us: int, expected: int | None) -> None:
    made = labelled("activation", ACTIVATION, ("u", "Project Created", at_us))
    assert label_of(made) == expected
    assert made.counts[7]["left_out:reached by then"] == (expected is None)


def test_activation_may_take_several_and_those_before_day_n_count() -> None:
    twice = {**ACTIVATION, "reached": {"events": ["Project Created", "Import Done"], "count": 2}}
    first = ("u", "Project Created", BEGAN + DAY)
    assert label_of(labelled("activation", twice, first)) == 0
    assert label_of(labelled("activation", twice, first, ("u", "Import Done", BEGAN + 20 * DAY))) == 1


@pytest.mark.parametrize(
    ("at_us", "expected"), [(8 * DAY - 1, 1), (8 * DAY, 0), (22 * DAY - 1, 0), (22 * DAY, 1), (None, 1)]
)
def test_disengagement_is_no_event_in_the_days_after(at_us: int | None, expected: int) -> None:
    events = [] if at_us is None else [("u", "Anything", BEGAN + at_us)]
    assert label_of(labelled("disengagement", DISENGAGEMENT, *events)) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], 0),
        ([("u", "a", BEGAN + 9 * DAY, "feature_use", "")], 0),
        ([("u", "a", BEGAN + 9 * DAY, "feature_use", ""), ("u", "b", BEGAN + 9 * DAY, "feature_use", "")], 1),
        ([("u", "Key Created", BEGAN + 9 * DAY)], 2),
        ([("u", "Key Created", BEGAN + 7 * DAY)], 0),  # what was done by day 7 is a feature, not the label
    ],
)
def test_skill_level_is_what_is_done_after_day_n(events: Sequence[Event], expected: int) -> None:
    assert label_of(labelled("skill_level", LEVEL, *events)) == expected


def test_preference_is_the_format_with_most_opens_and_ties_go_to_the_alphabet() -> None:
    def opened(*formats: str) -> int | None:
        events = [("u", "o", BEGAN + 9 * DAY, "content_open", each) for each in formats]
        return label_of(labelled("preference", PREFERENCE, *events))

    assert opened("quiz", "guide", "quiz") == LEARNED_FORMATS.index("quiz")
    assert opened("quiz", "guide") == LEARNED_FORMATS.index("guide")
    assert opened("video") is None  # a format no preference is learned for
    assert opened() is None


@pytest.mark.parametrize(("ends_us", "is_known"), [(BEGAN + 22 * DAY - 1, True), (BEGAN + 22 * DAY - 2, False)])
def test_a_label_whose_future_is_not_over_is_left_out_and_counted(ends_us: int, is_known: bool) -> None:
    made = labelled("disengagement", DISENGAGEMENT, ends_us=ends_us)
    assert len(made.rows) == is_known
    assert made.counts[7]["left_out:future not over"] == (not is_known)
    assert made.counts[7]["population"] == 1


def test_a_delay_makes_it_known_later() -> None:
    spec = {**DISENGAGEMENT, "delay_days": 3}
    assert labelled("disengagement", spec, ends_us=BEGAN + 25 * DAY - 2).rows.empty
    assert len(labelled("disengagement", spec, ends_us=BEGAN + 25 * DAY - 1).rows) == 1


def test_who_is_asked_may_depend_on_what_was_done_by_day_n() -> None:
    spec = {**DISENGAGEMENT, "has": {"events": ["Verified"]}, "has_not": {"events": ["Closed"]}}
    verified, closed = ("u", "Verified", BEGAN + 8 * DAY - 1), ("u", "Closed", BEGAN + 3 * DAY)
    assert label_of(labelled("disengagement", spec)) is None
    assert label_of(labelled("disengagement", spec, verified)) == 1
    assert label_of(labelled("disengagement", spec, verified, closed)) is None
    assert label_of(labelled("disengagement", spec, ("u", "Verified", BEGAN + 8 * DAY))) is None


def test_everybody_is_counted_once() -> None:
    made = labelled("disengagement", DISENGAGEMENT, ("v", "Page Viewed", BEGAN), ("w", "Signed Up", LATE - DAY))
    left_out = sum(n for why, n in made.counts[7].items() if why.startswith("left_out:"))
    assert made.counts[7]["rows"] + left_out == 3
    assert made.counts[7]["left_out:onboarding never began"] == 1
    assert made.counts[7]["left_out:not this far yet"] == 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 60), max_size=30), st.lists(st.integers(0, 60), max_size=5))
def test_a_population_and_a_label_see_nothing_past_their_own_last_instant(days: list[int], later: list[int]) -> None:
    events = [("u", "Project Created", BEGAN + d * DAY) for d in days]
    past = [("u", "Project Created", BEGAN + (28 + d) * DAY) for d in later]
    plain = labelled("activation", ACTIVATION, *events)
    leaked = labelled("activation", ACTIVATION, *events, *past)
    pd.testing.assert_frame_equal(plain.rows, leaked.rows)
    assert plain.counts == leaked.counts


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from("uvw")), max_size=40), st.integers(1, 90))
def test_what_is_known_of_an_instant_does_not_change_when_more_is_known(
    done: list[tuple[int, str]], until_day: int
) -> None:
    begins = [("v", "Signed Up", BEGAN + 10 * DAY), ("w", "Signed Up", BEGAN + 20 * DAY)]
    events = [*begins, *((user, "Project Created", BEGAN + d * DAY) for d, user in done)]
    ends_us = BEGAN + until_day * DAY
    for model, spec in (("activation", ACTIVATION), ("disengagement", DISENGAGEMENT)):
        whole = labelled(model, spec, *events).rows
        known = whole[whole["now_us"] + (whole["until_day"] - whole["day"]) * DAY <= ends_us]
        early = labelled(model, spec, *(e for e in events if e[2] <= ends_us), ends_us=ends_us).rows
        columns = ["user_id", "now_us", "label"]
        pd.testing.assert_frame_equal(early[columns], known[columns].reset_index(drop=True))


def test_instants_are_the_last_microseconds_of_days_since_the_onboarding_began() -> None:
    (row,) = labelled("activation", {**ACTIVATION, "since": ["Signed Up", "Invited"]}).rows.to_dict("records")
    assert row["now_us"] == BEGAN + 8 * DAY - 1
    assert (row["day"], row["until_day"]) == (7, 27)
    assert row["judged_label"] == row["label"]


def test_cohorts_are_fifths_in_time_and_the_latest_one_judges() -> None:
    began = [BEGAN + (i // 2) * DAY for i in range(100)]
    names = cohorts(np.array(began), np.ones(100, bool))
    assert list(names) == sorted(names)
    assert pd.Series(names).value_counts().tolist() == [20] * 5
    assert begins_on(names[0]).toordinal() - 719_163 == 20_000
    assert judged_by(sorted(set(names))) == "later_start"
    assert judged_by(["2026-09-14"]) == "held_out_people"


@pytest.mark.parametrize("n_days", [60, 90, 120, 200])
def test_sign_ups_that_go_on_leave_somebody_to_be_examined_on_every_judged_day(n_days: int) -> None:
    began = [BEGAN + i * n_days * DAY // 1_200 for i in range(1_200)]
    spec = {"none_of": {"events": "any"}, "for_days": 14}
    made = labelled(
        "disengagement", spec, *((f"u{i}", "Signed Up", at) for i, at in enumerate(began)), ends_us=began[-1]
    )
    days = judged_days(made.rows["day"].to_numpy(), (7, 14, 28))
    latest = made.rows[made.rows["cohort"] == made.rows["cohort"].max()]
    assert all((latest["day"] == day).sum() >= LEAST_EXAMINED for day in days)
    assert days == (7, 14, 28)


TEXT = """
activation:
  reached: {events: [Project Created]}
  within_days: 28
disengagement:
  none_of: {events: any}
  for_days: 14
  snapshot_days: [0, 7]
  evaluated_days: [7]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "labels.yaml"
    path.write_text(text)
    return path


def test_a_file_names_the_models_and_leaves_days_to_the_task(tmp_path: Path) -> None:
    _, file = read_labels(written(tmp_path, TEXT))
    tasks = {model: task_of(spec) for model, spec in file.specs.items()}
    assert tasks["activation"].snapshot_days == (0, 1, 3, 7, 14)
    assert tasks["activation"].evaluated_days == (3, 7, 14)
    assert (tasks["disengagement"].snapshot_days, tasks["disengagement"].evaluated_days) == ((0, 7), (7,))
    assert tasks["activation"].question == "Will the user reach 1 of Project Created within 28 days of Signed Up?"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (TEXT.replace("within_days: 28", "within: 28"), 2, "within_days"),
        (TEXT.replace("{events: [Project Created]}", "{families: [project]}"), 3, "unknown action family 'project'"),
        (TEXT.replace("{events: [Project Created]}", "{count: 2}"), 3, "names no event"),
        (TEXT.replace("{events: any}", "{events: any, families: [click]}"), 6, "leave them out"),
        (TEXT.replace("[0, 7]", "[7, 0]"), 8, "rising, each once"),
        (TEXT.replace("evaluated_days: [7]", "evaluated_days: [14]"), 9, "day 14 is none of the snapshot days 0, 7"),
        (TEXT.replace("within_days: 28", "within_days: 8\n  snapshot_days: [7]"), 5, "day 7 has nothing ahead"),
        (TEXT.replace("within_days: 28", "within_days: 1"), 2, "widen it"),
        (TEXT.replace("for_days: 14", "for_days: 14\n  shares: {maybe: [0, 1]}"), 8, "unknown class of disengagement"),
        ("churn: {}\n", 1, "churn"),
        ("{}\n", 1, "no label is defined"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    with pytest.raises(DataError, match=rf"labels\.yaml, line {line}: .*{problem}"):
        read_labels(written(tmp_path, text))


def test_an_event_nobody_ever_sent_is_named_with_those_there_are(tmp_path: Path) -> None:
    document, file = read_labels(written(tmp_path, TEXT))
    check_names(document, file, ["Project Created", "Signed Up"])
    with pytest.raises(DataError, match=r"line 3: unknown event 'Project Created'; known: Project Made, Signed Up"):
        check_names(document, file, ["Signed Up", "Project Made"])

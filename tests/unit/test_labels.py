"""Labels and populations on tables small enough to read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from examples.oulad.learning.labels import activation, disengagement, label, skill_level
from examples.oulad.learning.population import population
from examples.oulad.learning.preference import LEARNED_FORMATS, preference
from examples.oulad.tables.tables import OuladTables
from firstmile.errors import DataError
from training.labelled import NOT_JUDGED
from training.tasks import TASKS

P = "AAA_2013J"
LENGTH = 268
PAGES = ((100, "homepage"), (101, "forumng"), (102, "oucontent"), (103, "quiz"), (104, "glossary"), (105, "a new kind"))
HOME, FORUM, LESSON, QUIZ, GUIDE, NEW_KIND = (page for page, _ in PAGES)


def table(columns: str, rows: Sequence[Sequence[Any]], types: dict[str, pa.DataType] | None = None) -> pa.Table:
    names = columns.split()
    schema = pa.schema([(n, (types or {}).get(n, pa.int64())) for n in names])
    data = {n: [row[i] for row in rows] for i, n in enumerate(names)}
    result = pa.table(data, schema=schema)
    result = result.append_column("presentation", pa.array([P] * len(rows), pa.string()))
    if "id_student" in names:
        users = [f"{P}-{row[names.index('id_student')]}" for row in rows]
        result = result.append_column("user_id", pa.array(users, pa.string()))
    return result


def tables(
    registrations: Sequence[Sequence[int | None]] = ((1, -10, None),),
    clicks: Sequence[Sequence[int]] = (),
    hand_ins: Sequence[Sequence[Any]] = (),
    assessments: Sequence[Sequence[Any]] = ((10, "TMA", 19), (11, "CMA", 54), (12, "Exam", None), (13, "TMA", 60)),
) -> OuladTables:
    return OuladTables(
        clicks=table("id_student date id_site sum_click", [row if len(row) == 4 else (*row, 100, 1) for row in clicks]),
        info=table("id_student", ()),
        registrations=table("id_student date_registration date_unregistration", registrations),
        hand_ins=table(
            "id_assessment id_student date_submitted is_banked score",
            hand_ins,
            {"is_banked": pa.bool_(), "score": pa.float64()},
        ),
        assessments=table("id_assessment assessment_type date", assessments, {"assessment_type": pa.string()}),
        pages=table("id_site activity_type", PAGES, {"activity_type": pa.string()}),
        courses=table("module_presentation_length", ((LENGTH,),)),
    )


def test_population_counts_each_reason_once() -> None:
    users, counts = population(
        tables(
            ((1, -10, None), (2, 7, None), (3, 8, None), (4, None, None), (5, -10, 7), (6, -10, 8), (7, None, 3)),
        ),
        7,
    )
    assert users["person"].tolist() == [1, 2, 6]
    assert counts == {
        "left_out:registration date missing": 2,
        "left_out:registered later": 1,
        "left_out:unregistered by then": 1,
        "population": 3,
    }


@pytest.mark.parametrize(
    ("hand_in", "expected"),
    [
        ((10, 1, 8, False, 40.0), [1]),
        ((10, 1, 8, False, 39.9), [0]),
        ((10, 1, LENGTH, False, 90.0), [1]),
        ((10, 1, LENGTH + 1, False, 90.0), [0]),
        ((10, 1, 7, False, 90.0), []),  # handed in by day 7: not asked any more
        ((10, 1, -1, True, 90.0), []),  # banked
        ((10, 1, 8, False, None), [0]),  # score missing: not reached
        ((13, 1, 8, False, 90.0), [0]),  # another TMA
        ((11, 1, 8, False, 90.0), [0]),  # a CMA
    ],
)
def test_activation_of_one_hand_in(hand_in: Sequence[Any], expected: list[int]) -> None:
    users, _ = activation(tables(hand_ins=(hand_in,)), 7)
    assert users["label"].tolist() == expected


def test_activation_counts_banked_done_and_missing_scores() -> None:
    hand_ins = ((10, 1, -5, True, 70.0), (10, 2, 3, False, 70.0), (10, 3, 20, False, None), (10, 4, 20, False, 50.0))
    users, counts = activation(tables([(s, -10, None) for s in (1, 2, 3, 4, 5)], hand_ins=hand_ins), 7)
    assert dict(zip(users["person"], users["label"], strict=True)) == {3: 0, 4: 1, 5: 0}
    assert counts["left_out:banked"] == 1
    assert counts["left_out:handed in by then"] == 1
    assert counts["score missing, not reached"] == 1
    assert (counts["population"], counts["rows"]) == (5, 3)


def test_activation_goal_is_the_earliest_due_tma_not_the_first_in_the_file() -> None:
    assessments = ((10, "TMA", 60), (11, "CMA", 5), (12, "TMA", 19))
    users, _ = activation(tables(hand_ins=((12, 1, 18, False, 80.0),), assessments=assessments), 3)
    assert users["label"].tolist() == [1]


def test_activation_without_a_dated_tma_is_refused() -> None:
    with pytest.raises(DataError, match=r"column date: AAA_2013J"):
        activation(tables(assessments=((10, "TMA", None), (11, "CMA", 20))), 3)


@pytest.mark.parametrize(("click_day", "expected"), [(7, 1), (8, 0), (21, 0), (22, 1)])
def test_disengagement_looks_at_the_fourteen_days_after(click_day: int, expected: int) -> None:
    users, _ = disengagement(tables(clicks=((1, click_day),)), 7)
    assert users["label"].tolist() == [expected]


def test_disengagement_counts_clicks_after_unregistration() -> None:
    users, _ = disengagement(tables(((1, -10, 9),), clicks=((1, 12),)), 7)
    assert users["label"].tolist() == [0]


def test_disengagement_is_not_asked_when_the_course_ends_inside_the_window() -> None:
    users, counts = disengagement(tables(), LENGTH - 13)
    assert len(users) == 0
    assert counts["left_out:course over"] == 1


@pytest.mark.parametrize(
    ("scores", "expected"), [((59.0,), 0), ((60.0,), 1), ((80.0,), 1), ((81.0,), 2), ((40.0, 80.0), 1), ((None,), None)]
)
def test_skill_level_of_mean_scores(scores: Sequence[float | None], expected: int | None) -> None:
    hand_ins = [((10, 11)[i], 1, 20, False, score) for i, score in enumerate(scores)]
    users, counts = skill_level(tables(hand_ins=hand_ins), 7)
    assert users["label"].tolist() == ([] if expected is None else [expected])
    assert counts["left_out:no mark"] == (expected is None)


def test_skill_level_leaves_exams_out() -> None:
    users, _ = skill_level(tables(hand_ins=((12, 1, 20, False, 10.0), (10, 1, 20, False, 90.0))), 7)
    assert users["label"].tolist() == [2]


def test_skill_level_second_form_takes_only_later_marks() -> None:
    source = tables(((1, -9, None), (2, -9, None)), hand_ins=((10, 1, 5, False, 90.0), (11, 1, 8, False, 50.0)))
    source_of_2 = tables(((2, -9, None),), hand_ins=((10, 2, 7, False, 90.0),))
    assert skill_level(source, 7)[0]["label"].tolist() == [1]
    assert skill_level(source, 7, only_later_marks=True)[0]["label"].tolist() == [0]
    assert len(skill_level(source_of_2, 7, only_later_marks=True)[0]) == 0


@pytest.mark.parametrize(
    ("clicks", "expected"),
    [
        (((1, 8, QUIZ, 3), (1, 9, LESSON, 2), (1, 9, LESSON, 2)), "lesson"),  # 4 clicks of 2 rows against 3 of one
        (((1, 8, QUIZ, 2), (1, 9, LESSON, 2), (1, 9, FORUM, 2)), "community"),  # a tie: first in the alphabet
        (((1, 8, HOME, 50), (1, 8, QUIZ, 1)), "quiz"),  # the home page has no format
        (((1, 8, HOME, 50),), None),
        (((1, 7, QUIZ, 9), (1, 15, QUIZ, 9), (1, 14, GUIDE, 1)), "guide"),  # days 8 … 14 alone
        (((1, 8, QUIZ, 1),), "quiz"),
        (((1, 14, NEW_KIND, 2), (1, 9, QUIZ, 1)), "guide"),  # whatever is not listed is a guide
        (((2, 8, QUIZ, 1),), None),  # somebody else's
        ((), None),
    ],
)
def test_preference_is_the_format_with_most_clicks(clicks: Sequence[Sequence[int]], expected: str | None) -> None:
    users, counts = preference(tables(clicks=clicks), 7)
    assert [LEARNED_FORMATS[i] for i in users["label"]] == ([] if expected is None else [expected])
    assert counts["left_out:no content opened"] == (expected is None)
    assert (users["until_day"] == 14).all()


def test_preference_is_never_asked_on_day_0_nor_past_the_end_of_the_course() -> None:
    assert 0 not in TASKS["preference"].snapshot_days
    late = LENGTH // 2 + 1
    _, counts = preference(tables(clicks=((1, late + 1, QUIZ, 1),)), late)
    assert counts["left_out:course over"] == 1


def test_a_format_counts_by_its_own_presentations_pages() -> None:
    source = tables(clicks=((1, 8, QUIZ, 1),))
    other = source.pages.drop_columns(["presentation"]).append_column(
        "presentation", pa.array(["AAA_2014J"] * len(PAGES))
    )
    users, counts = preference(replace(source, pages=other), 7)  # the page's id is known in another start alone
    assert len(users) == 0
    assert counts["left_out:no content opened"] == 1


@pytest.mark.parametrize(
    ("handed_in", "delay_days", "known"),
    [
        (20, 14, LENGTH),
        (LENGTH - 14, 14, LENGTH),
        (LENGTH - 13, 14, LENGTH + 1),
        (LENGTH, 14, LENGTH + 14),
        (20, 0, LENGTH),
    ],
)
def test_labels_of_scores_are_known_when_the_course_is_over_and_the_last_mark_is_there(
    handed_in: int, delay_days: int, known: int
) -> None:
    source = tables(hand_ins=((10, 1, handed_in, False, 70.0),))
    for model in ("activation", "skill_level"):
        rows = label(model, source, days=[7], marking_delay_days=delay_days).rows
        assert rows["until_day"].tolist() == [known]


def test_gates_judge_skill_level_by_marks_handed_in_later_and_the_others_by_their_label() -> None:
    hand_ins = ((10, 1, 5, False, 90.0), (11, 1, 8, False, 50.0), (10, 2, 5, False, 90.0))
    source = tables(((1, -9, None), (2, -9, None)), hand_ins=hand_ins, clicks=((1, 8, QUIZ, 1), (2, 9, FORUM, 1)))
    found = label("skill_level", source, days=[7])
    assert found.rows["label"].tolist() == [1, 2]
    assert found.rows["judged_label"].tolist() == [0, NOT_JUDGED]
    assert found.counts[7]["not judged, no later mark"] == 1
    nobody_yet = tables(
        ((1, -9, None), (2, -9, None)), hand_ins=hand_ins[1:2], clicks=((1, 8, QUIZ, 1), (2, 9, FORUM, 1))
    )
    for model in ("activation", "disengagement", "preference"):
        rows = label(model, nobody_yet, days=[7]).rows
        assert len(rows) == 2
        assert (rows["judged_label"] == rows["label"]).all()


def test_stacked_days_are_sorted_and_say_how_far_the_label_looked() -> None:
    rows = label("disengagement", tables(((2, -10, None), (1, 5, None)))).rows
    assert rows[["person", "day"]].values.tolist() == [
        *[[1, d] for d in (7, 14, 28)],
        *[[2, d] for d in TASKS["disengagement"].snapshot_days],
    ]
    assert (rows["until_day"] == rows["day"] + 14).all()


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="known: activation, disengagement, preference, skill_level"):
        label("churn", tables())

"""Labels and populations on tables small enough to read."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from firstmile.errors import DataError
from firstmile.oulad import OuladTables
from training.labels import activation, disengagement, label, population, skill_level
from training.tasks import TASKS

P = "AAA_2013J"
LENGTH = 268


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
        clicks=table("id_student date", clicks),
        info=table("id_student", ()),
        registrations=table("id_student date_registration date_unregistration", registrations),
        hand_ins=table(
            "id_assessment id_student date_submitted is_banked score",
            hand_ins,
            {"is_banked": pa.bool_(), "score": pa.float64()},
        ),
        assessments=table("id_assessment assessment_type date", assessments, {"assessment_type": pa.string()}),
        pages=table("id_site", ()),
        courses=table("module_presentation_length", ((LENGTH,),)),
    )


def test_population_counts_each_reason_once() -> None:
    users, counts = population(
        tables(
            ((1, -10, None), (2, 7, None), (3, 8, None), (4, None, None), (5, -10, 7), (6, -10, 8), (7, None, 3)),
        ),
        7,
    )
    assert users["id_student"].tolist() == [1, 2, 6]
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
    assert dict(zip(users["id_student"], users["label"], strict=True)) == {3: 0, 4: 1, 5: 0}
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


def test_stacked_days_are_sorted_and_say_how_far_the_label_looked() -> None:
    rows = label("disengagement", tables(((2, -10, None), (1, 5, None)))).rows
    assert rows[["id_student", "day"]].values.tolist() == [
        *[[1, d] for d in (7, 14, 28)],
        *[[2, d] for d in TASKS["disengagement"].snapshot_days],
    ]
    assert (rows["until_day"] == rows["day"] + 14).all()


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="known: activation, disengagement, skill_level"):
        label("churn", tables())

"""What a learner opens next, on tables small enough to read."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_labels import LENGTH, P, table

from examples.oulad.learning.openings import AHEAD_DAYS, openings
from examples.oulad.tables.tables import OuladTables
from firstmile.errors import DataError
from firstmile.vocabulary import FORMATS

LESSON, QUIZ = FORMATS.index("lesson"), FORMATS.index("quiz")
PAGES = pd.DataFrame({"id_site": [20, 10, 30], "content_id": ["20", "10", "30"], "format": [LESSON, QUIZ, LESSON]})
HOME = 99


def tables(clicks: Sequence[Sequence[int]], registrations: Sequence[Sequence[int | None]] | None = None) -> OuladTables:
    """Clicks of (student, site, day)."""
    none = table("id_student", ())
    return OuladTables(
        clicks=table("id_student id_site date", clicks),
        info=none,
        registrations=table(
            "id_student date_registration date_unregistration", registrations or ((1, -10, None), (2, -10, None))
        ),
        hand_ins=none,
        assessments=none,
        pages=none,
        courses=table("module_presentation_length", ((LENGTH,),)),
    )


@pytest.mark.parametrize(
    ("day", "before", "ahead"), [(-3, 1, 0), (7, 1, 0), (8, 0, 1), (7 + AHEAD_DAYS, 0, 1), (8 + AHEAD_DAYS, 0, 0)]
)
def test_an_opening_is_before_ahead_or_neither_by_its_day(day: int, before: int, ahead: int) -> None:
    found = openings(tables(((2, 10, day),)), PAGES, P, 7)
    assert found.users["person"].tolist() == [1, 2]
    assert found.before.tolist() == [[0, 0, 0], [0, before, 0]]
    assert found.ahead.tolist() == [[0, 0, 0], [0, ahead, 0]]


def test_a_page_opened_again_is_both_and_often_is_once() -> None:
    found = openings(tables(((1, 30, 3), (1, 30, 9), (1, 30, 9))), PAGES, P, 7)
    assert (found.before[0].tolist(), found.ahead[0].tolist()) == ([False, False, True], [False, False, True])


def test_the_home_page_and_people_who_are_not_asked_open_nothing() -> None:
    source = tables(((1, HOME, 9), (3, 10, 9), (4, 10, 9)), ((1, -10, None), (3, 8, None), (4, -10, 7)))
    found = openings(source, PAGES, P, 7)
    assert found.users["person"].tolist() == [1]
    assert found.ahead.tolist() == [[False] * 3]
    assert (found.counts["left_out:registered later"], found.counts["left_out:unregistered by then"]) == (1, 1)


def test_another_presentation_s_clicks_and_learners_are_not_seen() -> None:
    source = tables(((1, 10, 9),))
    other = pa.array(["BBB_2013B"], pa.string())
    clicks = source.clicks.set_column(source.clicks.column_names.index("presentation"), "presentation", other)
    found = openings(OuladTables(**{**vars(source), "clicks": clicks}), PAGES, P, 7)
    assert found.ahead.tolist() == [[False] * 3] * 2


def test_a_course_that_is_over_by_then_is_refused() -> None:
    assert np.array_equal(openings(tables(()), PAGES, P, LENGTH - AHEAD_DAYS).ahead, np.zeros((2, 3), bool))
    with pytest.raises(DataError, match=rf"{P} ends on day {LENGTH}, so day {LENGTH - 6} has no 7 days ahead"):
        openings(tables(()), PAGES, P, LENGTH - 6)

"""Splits: by start in time, a student never on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.split import N_FOLDS, folds, held_out_students, judged_by, later_start, latest_starts

A13, A14, B13 = "AAA_2013J", "AAA_2014J", "BBB_2013B"


@pytest.mark.parametrize(
    ("chosen", "latest", "examination"),
    [
        ([A13, B13], [A13], "held_out_students"),
        ([B13, A13, A14], [A14], "later_start"),
        ([A13, A14], [A14], "later_start"),
        ([A13], [A13], "held_out_students"),
        ([B13, A14, "BBB_2014J"], ["AAA_2014J", "BBB_2014J"], "held_out_students"),
        ([B13, A13, A14, "BBB_2014J"], ["AAA_2014J", "BBB_2014J"], "later_start"),
    ],
)
def test_the_latest_start_judges_only_a_course_seen_before(
    chosen: list[str], latest: list[str], examination: str
) -> None:
    assert latest_starts(chosen) == latest
    assert judged_by(chosen) == examination


def test_later_start_trains_on_earlier_starts_without_the_students_it_examines() -> None:
    presentations = np.array([B13, A13, A13, A14, A14])
    students = np.array([1, 2, 3, 3, 4])
    split = later_start(presentations, students)
    assert split is not None
    assert split.train.tolist() == [True, True, False, False, False]
    assert split.test.tolist() == [False, False, False, True, True]


def test_one_start_has_no_later_one() -> None:
    assert later_start(np.array([A13, A13]), np.array([1, 2])) is None


def test_nobody_left_to_learn_from_is_no_split() -> None:
    assert later_start(np.array([A13, A14]), np.array([1, 1])) is None


@given(st.lists(st.integers(0, 60), min_size=2, max_size=200), st.integers(0, 5))
def test_held_out_students_are_examined_once_by_a_model_that_never_saw_them(ids: list[int], seed: int) -> None:
    students = np.array(ids, dtype=np.int64)
    splits = held_out_students(students, seed=seed)
    for split in splits:
        assert not set(students[split.train]) & set(students[split.test])
    if len(set(ids)) > 1:
        assert (sum(split.test.astype(int) for split in splits) == 1).all()


def test_folds_are_even_and_depend_on_the_seed_alone() -> None:
    students = np.repeat(np.arange(100), 3)
    fold = folds(students, seed=3)
    assert np.bincount(fold).tolist() == [60] * N_FOLDS
    assert (fold == folds(students, seed=3)).all()
    assert (fold != folds(students, seed=4)).any()

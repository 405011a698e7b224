"""Splits: by start in time, a person never on both sides."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.split import (
    LEAST_TAUGHT,
    N_FOLDS,
    N_ORIGINS,
    examinations,
    folds,
    held_out_people,
    judged_by,
    later_start,
    latest_starts,
    rolling_origins,
)

A13, A14, B13 = "AAA_2013J", "AAA_2014J", "BBB_2013B"


@pytest.mark.parametrize(
    ("chosen", "latest", "examination"),
    [
        ([A13, B13], [A13], "held_out_people"),
        ([B13, A13, A14], [A14], "later_start"),
        ([A13, A14], [A14], "later_start"),
        ([A13], [A13], "held_out_people"),
        ([B13, A14, "BBB_2014J"], ["AAA_2014J", "BBB_2014J"], "held_out_people"),
        ([B13, A13, A14, "BBB_2014J"], ["AAA_2014J", "BBB_2014J"], "later_start"),
    ],
)
def test_the_latest_start_judges_only_a_course_seen_before(
    chosen: list[str], latest: list[str], examination: str
) -> None:
    assert latest_starts(chosen) == latest
    assert judged_by(chosen) == examination


def test_later_start_trains_on_earlier_starts_without_the_students_it_examines() -> None:
    cohorts = np.array([B13, A13, A13, A14, A14])
    people = np.array([1, 2, 3, 3, 4])
    split = later_start(cohorts, people)
    assert split is not None
    assert split.train.tolist() == [True, True, False, False, False]
    assert split.test.tolist() == [False, False, False, True, True]


def test_one_start_has_no_later_one() -> None:
    assert later_start(np.array([A13, A13]), np.array([1, 2])) is None


def test_nobody_left_to_learn_from_is_no_split() -> None:
    assert later_start(np.array([A13, A14]), np.array([1, 1])) is None


@given(st.lists(st.integers(0, 60), min_size=2, max_size=200), st.integers(0, 5))
def test_held_out_people_are_examined_once_by_a_model_that_never_saw_them(ids: list[int], seed: int) -> None:
    people = np.array(ids, dtype=np.int64)
    splits = held_out_people(people, seed=seed)
    for split in splits:
        assert not set(people[split.train]) & set(people[split.test])
    if len(set(ids)) > 1:
        assert (sum(split.test.astype(int) for split in splits) == 1).all()


def test_folds_are_even_and_depend_on_the_seed_alone() -> None:
    people = np.repeat(np.arange(100), 3)
    fold = folds(people, seed=3)
    assert np.bincount(fold).tolist() == [60] * N_FOLDS
    assert (fold == folds(people, seed=3)).all()
    assert (fold != folds(people, seed=4)).any()


def test_every_start_with_earlier_ones_is_examined_by_what_these_alone_taught() -> None:
    cohorts = np.array([B13, B13, A13, A13, A14, A14])
    people = np.array([1, 2, 3, 1, 4, 3])
    first, second = rolling_origins(cohorts, people)
    assert first.train.tolist() == [False, True, False, False, False, False]  # 1 is examined: he took both
    assert first.test.tolist() == [False, False, True, True, False, False]
    assert second.train.tolist() == [True, True, False, True, False, False]
    assert second.test.tolist() == [False, False, False, False, True, True]


def names(cohorts: Any, people: Any, *, teaches: bool = True) -> list[str]:
    return list(examinations(cohorts, people, seed=7, teaches=lambda split: teaches))


def test_starts_before_the_last_one_are_examined_where_enough_teach() -> None:
    people = np.arange(3 * LEAST_TAUGHT)
    cohorts = np.repeat([B13, A13, A14], LEAST_TAUGHT)
    found = examinations(cohorts, people, seed=7, teaches=lambda split: True)
    assert [len(splits) for splits in found.values()] == [1, 2, N_FOLDS]
    assert found["rolling_origin"][-1] is found["later_start"][0]
    usual = ["later_start", "held_out_people"]
    assert names(cohorts, people, teaches=False) == usual
    assert names(cohorts[1:], people[1:]) == usual  # one of the first start is missing
    assert names(cohorts[LEAST_TAUGHT:], people[LEAST_TAUGHT:]) == usual  # one origin alone is the later start
    assert names(cohorts[:LEAST_TAUGHT], people[:LEAST_TAUGHT]) == ["held_out_people"]


def test_only_the_newest_origins_are_examined() -> None:
    starts = np.array([f"2026-{month:02}-01" for month in range(1, 9)])
    splits = rolling_origins(starts, np.arange(8))
    assert [starts[split.test].tolist() for split in splits] == [[start] for start in starts[-N_ORIGINS:].tolist()]
    assert splits[0].train.sum() == 8 - N_ORIGINS

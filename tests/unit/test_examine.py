"""Examinations of people unseen: nothing of theirs reaches what they are asked by."""

from dataclasses import replace

import numpy as np
import pytest
from learners import FEATURES, data, rows

from training.arrays import BoolArray, FloatArray
from training.examine import examine, known_by_then
from training.models import Fitter
from training.split import later_start

FITTER = Fitter("activation", FEATURES, seed=7)


def test_labels_of_who_is_examined_change_no_answer_to_them_reweighed_or_not() -> None:
    of = rows("AAA_2013J", "AAA_2014J", n=80)
    later: BoolArray = of.cohort == "AAA_2014J"
    groups = np.where(of.person % 3 == 0, "F", "M")
    turned = replace(of, y=np.where(later & (groups == "F"), 1 - of.y, of.y))

    def answers(groups: np.ndarray | None) -> tuple[FloatArray, FloatArray]:
        one, other = (examine(data(each), FITTER, threads=1, groups=groups)["later_start"].p for each in (of, turned))
        return one, other

    assert np.array_equal(*answers(None))
    assert np.array_equal(*answers(groups))
    assert not np.array_equal(answers(None)[0], answers(groups)[0])


def test_what_was_not_known_when_the_examined_start_began_teaches_nothing_of_it() -> None:
    # Labels look 14 days ahead: of the cohort that began 18 days before the last, those at day 14 come too late.
    of = rows("2026-01-01", "2026-03-02", "2026-03-20", n=60)
    split = later_start(of.cohort, of.person)
    assert split is not None
    late = (of.cohort == "2026-03-02") & (of.x[:, 1] == 14)
    known = known_by_then(data(of), split, lambda _: True)
    assert np.array_equal(known.train, split.train & ~late)
    assert np.array_equal(known.test, split.test)
    found = examine(data(of), FITTER, threads=1)["later_start"]
    fitted = FITTER.fit(of.where(known.train))
    assert np.array_equal(found.p, fitted.probabilities(of.x[known.test]))


@pytest.mark.parametrize("starts", [("2026-03-01", "2026-03-08"), ("2026-03-01", "2026-03-20")])
def test_where_nobody_was_known_at_a_judged_day_the_earlier_start_teaches_all_the_same(starts: tuple[str, str]) -> None:
    of = rows(*starts, n=60)
    split = later_start(of.cohort, of.person)
    assert split is not None
    assert known_by_then(data(of), split, lambda _: True) is split

"""Examinations of people unseen: nothing of theirs reaches what they are asked by."""

from dataclasses import replace

import numpy as np
from learners import FEATURES, data, rows

from training.examine import examine, known_by_then
from training.models import Fitter
from training.split import BoolArray, FloatArray, later_start

FITTER = Fitter("activation", FEATURES, seed=7)


def test_labels_of_who_is_examined_change_no_answer_to_them_reweighed_or_not() -> None:
    of = rows("AAA_2013J", "AAA_2014J", n=80)
    later: BoolArray = of.presentation == "AAA_2014J"
    groups = np.where(of.student % 3 == 0, "F", "M")
    turned = replace(of, y=np.where(later & (groups == "F"), 1 - of.y, of.y))

    def answers(groups: np.ndarray | None) -> tuple[FloatArray, FloatArray]:
        one, other = (examine(data(each), FITTER, threads=1, groups=groups)["later_start"].p for each in (of, turned))
        return one, other

    assert np.array_equal(*answers(None))
    assert np.array_equal(*answers(groups))
    assert not np.array_equal(answers(None)[0], answers(groups)[0])


def test_what_was_not_known_when_the_examined_start_began_teaches_nothing_of_it() -> None:
    # Labels look 14 days ahead: of cohorts that began 19 and 18 days before, those at day 14 come too late.
    of = rows("2026-03-01", "2026-03-02", "2026-03-20", n=60)
    late = (of.presentation != "2026-03-20") & (of.x[:, 1] == 14)
    turned = replace(of, y=np.where(late, 1 - of.y, of.y))
    one, other = (examine(data(each), FITTER, threads=1)["later_start"].p for each in (of, turned))
    assert np.array_equal(one, other)


def test_where_nothing_else_was_known_the_earlier_start_teaches_all_the_same() -> None:
    of = rows("2026-03-01", "2026-03-08")
    split = later_start(of.presentation, of.student)
    assert split is not None
    assert known_by_then(data(of), split, lambda _: True) is split

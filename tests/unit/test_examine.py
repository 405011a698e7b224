"""Examinations of people unseen: nothing of theirs reaches what they are asked by."""

from dataclasses import replace

import numpy as np
from learners import FEATURES, data, rows

from training.examine import examine
from training.models import Fitter
from training.split import BoolArray, FloatArray

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

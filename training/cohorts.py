"""Starts of a product, whose users begin on any day: fifths by the time their onboarding began.

What a presentation is to OULAD: split.py learns from the earlier ones and examines on the latest.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from firstmile.clock import MICROS_PER_DAY, to_datetime
from training.split import BoolArray, IntArray, TextArray

N_COHORTS: Final = 5
LEAST_EXAMINED: Final = 30
"""Users of the latest cohort on a day it is judged on: fewer say nothing."""


def judged_days(day: IntArray, asked: Sequence[int]) -> tuple[int, ...]:
    """The days asked for on which enough users have a label for a fifth of them to be examined; none: all days asked.

    A product that is 30 days old has nobody at day 28 whose next two weeks are over.

    day
        Shape (n_rows,): of each labelled row.

    >>> judged_days(np.repeat([7, 28], [150, 149]), [7, 28])
    (7,)
    """
    return tuple(d for d in asked if (day == d).sum() >= N_COHORTS * LEAST_EXAMINED) or tuple(asked)


def cohorts(began_us: IntArray, is_old: BoolArray) -> TextArray:
    """The cohort of each user, named after its first day; users of one UTC day stay together.

    began_us
        Shape (n_users,), may be empty.
    is_old
        Shape (n_users,): who is old enough for every judged day. Fifths are of these, and younger users are of the
        latest: a fifth of everybody would be of people who signed up last, and have no label at day 28 yet.

    >>> cohorts(np.array([0, 1, 2, 3, 9, 20]) * MICROS_PER_DAY, np.arange(6) < 5).tolist()[-3:]
    ['1970-01-04', '1970-01-10', '1970-01-10']
    """
    if not len(began_us):
        return np.empty(0, str)
    day = began_us // MICROS_PER_DAY
    old = day[is_old] if is_old.any() else day
    edges = np.unique(np.quantile(old, np.arange(N_COHORTS) / N_COHORTS, method="higher"))
    edges[0] = min(edges[0], day.min())
    first = edges[np.searchsorted(edges, day, side="right") - 1]
    return np.array([f"{to_datetime(int(d) * MICROS_PER_DAY):%Y-%m-%d}" for d in first], str)

"""Starts of a product, whose users begin on any day: fifths by the time their onboarding began.

What a presentation is to OULAD: split.py learns from the earlier ones and examines on the latest.
"""

from typing import Final

import numpy as np

from firstmile.clock import MICROS_PER_DAY, to_datetime
from training.split import IntArray, TextArray

N_COHORTS: Final = 5


def cohorts(began_us: IntArray) -> TextArray:
    """The cohort of each user, named after its first day; users of one UTC day stay together.

    began_us
        Shape (n_users,), may be empty.

    >>> cohorts(np.array([0, 1, 2, 3, 9]) * MICROS_PER_DAY).tolist()[-2:]
    ['1970-01-04', '1970-01-10']
    """
    if not len(began_us):
        return np.empty(0, str)
    day = began_us // MICROS_PER_DAY
    edges = np.unique(np.quantile(day, np.arange(N_COHORTS) / N_COHORTS, method="higher"))
    first = edges[np.searchsorted(edges, day, side="right") - 1]
    return np.array([f"{to_datetime(int(d) * MICROS_PER_DAY):%Y-%m-%d}" for d in first], str)

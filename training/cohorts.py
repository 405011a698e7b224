"""Groups users by when their onboarding began: split.py learns from the earlier cohorts and examines on the latest.

Users who begin on any day are cut into fifths, each named after its first day. A product whose history was recorded
under a calendar of its own names its cohorts itself, by `calendar` under `source` of labels.yaml.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Final, Protocol, cast

import numpy as np

from firstmile.clock import MICROS_PER_DAY, to_datetime, to_us
from firstmile.documents import read_document
from firstmile.hooks import Hook, call_hook
from firstmile.product import current_product, product_file
from firstmile.vocabulary import SOURCE
from training.arrays import BoolArray, IntArray, TextArray

N_COHORTS: Final = 5
LEAST_EXAMINED: Final = 30
"""Users of the latest cohort on a day it is judged on: fewer say nothing."""


class Recorded(Protocol):
    """Cohorts of a history that was recorded under a calendar of its own.

    pattern
        Regular expression (RE2) of a user id; its first group is the cohort.
    days
        No cohort was recorded for longer. What is later was played live, under a shifted calendar.
    """

    pattern: str
    days: int

    def begins_on(self, cohort: str) -> date:
        """Day 0. Raises DataError for a name that is no cohort."""

    def track(self, cohort: str) -> str:
        """What a cohort is one of: one track's earlier cohorts are the best teachers of its latest."""


@cache
def recorded(product: Path) -> Recorded | None:
    """The calendar of a product's recorded history; None where users begin on any day."""
    path = product_file(product, "labels")
    document = read_document(path) if path.exists() else None
    place = (SOURCE, "calendar")
    if document is None or not isinstance(document.data, dict) or "calendar" not in document.data.get(SOURCE, {}):
        return None
    return cast(Recorded, call_hook(document, place, document.parse(Hook, place)))


def begins_on(cohort: str) -> date:
    """Day 0 of a cohort: by its name, or by the product's own calendar.

    >>> begins_on("2026-09-14") > begins_on("2025-09-14")
    True
    """
    calendar = None if cohort[:1].isdigit() else recorded(current_product())
    return date.fromisoformat(cohort) if calendar is None else calendar.begins_on(cohort)


def track_of(cohort: str) -> str:
    """What the cohort is one of; all that are cut by time are of one."""
    calendar = None if cohort[:1].isdigit() else recorded(current_product())
    return "" if calendar is None else calendar.track(cohort)


def day_start_us(cohort: str, day: int) -> int:
    """First microsecond (UTC) of a day of a cohort."""
    return to_us(datetime.combine(begins_on(cohort), datetime.min.time(), tzinfo=UTC)) + day * MICROS_PER_DAY


def day_end_us(cohort: str, day: int) -> int:
    """Last microsecond (UTC) of a day: the instant "at day N"."""
    return day_start_us(cohort, day + 1) - 1


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

"""How often an item had been opened some days ago: online, what the offline history says of that instant.

The history answers "n_opened as it was known a week ago" by its last row by then; the online store holds one row per
item. So that row carries the last few of them: [known_us, n_opened] per day on which something happened.
"""

from collections.abc import Sequence
from typing import Final

import orjson

from feature_repo.content_standing import RECENT_DAYS
from firstmile.clock import MICROS_PER_DAY

KEPT_US: Final = max(RECENT_DAYS) * MICROS_PER_DAY

Openings = Sequence[tuple[int, int]]
"""(known_us, n_opened) of an item's rows in `content_stats`, ascending."""


def pack_openings(history: Openings) -> str:
    """The stored form of an item's history: the last days of it that any of RECENT_DAYS can ask for, and one before.

    >>> pack_openings([(5, 1), (MICROS_PER_DAY, 2), (9 * MICROS_PER_DAY, 4)])
    '[[86400000000,2],[777600000000,4]]'
    """
    first = len(history) - 1
    while first > 0 and history[first][0] > history[-1][0] - KEPT_US:
        first -= 1
    return orjson.dumps(history[max(first, 0) :]).decode()


def unpack_openings(text: str | None) -> Openings | None:
    """Inverse of pack_openings; None for an item written before its openings were."""
    return [(known_us, n) for known_us, n in orjson.loads(text)] if text else None


def opened_earlier(openings: Openings | None, now_us: int, days: int) -> float:
    """n_opened as it was known so many days before now: 0 before the first; NaN when that is not known.

    now_us
        Not before the newest row. `days` is one of RECENT_DAYS.

    >>> opened_earlier([(MICROS_PER_DAY, 2), (9 * MICROS_PER_DAY, 4)], 9 * MICROS_PER_DAY, 7)
    2.0
    """
    if openings is None:
        return float("nan")
    then_us = now_us - days * MICROS_PER_DAY
    return float(next((n for known_us, n in reversed(openings) if known_us <= then_us), 0))

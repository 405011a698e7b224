"""How often an item had been opened some days ago: online, what the offline history says of that instant.

The history answers "n_opened as it was known a week ago" by its last row by then; the online store holds one row per
item. So that row is to carry the last few of them: [known_us, n_opened] per day on which something happened.
"""

from collections.abc import Iterable
from typing import Final

import orjson

from feature_repo.content_standing import RECENT_DAYS
from firstmile.clock import MICROS_PER_DAY

KEPT_US: Final = max(RECENT_DAYS) * MICROS_PER_DAY


def pack_openings(history: Iterable[tuple[int, int]]) -> str:
    """The stored form of an item's history: the last days of it that any of RECENT_DAYS can ask for, and one before.

    history
        (known_us, n_opened) of the item's rows in `content_stats`, ascending.

    >>> pack_openings([(5, 1), (MICROS_PER_DAY, 2), (9 * MICROS_PER_DAY, 4)])
    '[[86400000000,2],[777600000000,4]]'
    """
    rows = list(history)
    first = max((i for i, (known_us, _) in enumerate(rows) if known_us <= rows[-1][0] - KEPT_US), default=0)
    return orjson.dumps(rows[first:]).decode()


def opened_earlier(text: str | None, now_us: int, days: int) -> float:
    """n_opened as it was known so many days before now: 0 before the first, or without anything stored.

    now_us
        Not before the newest row. `days` is one of RECENT_DAYS.

    >>> opened_earlier('[[86400000000,2],[777600000000,4]]', 9 * MICROS_PER_DAY, 7)
    2.0
    """
    then_us = now_us - days * MICROS_PER_DAY
    rows: list[list[int]] = orjson.loads(text or "[]")
    return float(max((n for known_us, n in rows if known_us <= then_us), default=0))

"""The time of day inside an OULAD day: invented, because the data set has days only. Seeded by user and day.

04:00 .. 05:30   sign-up              06:00 .. 18:00   the first click; a later session starts 45 to 225 minutes
18:00 .. 23:00   hand-ins, marks                       after the first has ended
23:00 .. 23:59   unregistration       the last ten seconds of a day hold no event, so that what is received late
                                      by two seconds is still received on its day
"""

import numpy as np
import numpy.typing as npt

from examples.oulad.events.seeded import Keys, U64Array, uniform
from firstmile.clock import MICROS_PER_DAY, MICROS_PER_S

IntArray = npt.NDArray[np.int64]

HOUR_US = 3_600 * MICROS_PER_S
MINUTE_US = 60 * MICROS_PER_S
LAST_OFFSET_US = MICROS_PER_DAY - 10 * MICROS_PER_S
TWO_SESSIONS = 0.35
"""Share of a user's days that have a second session."""


def moment_us(seed: int, purpose: str, hours: tuple[float, float], *keys: Keys) -> IntArray:
    """One moment between two hours of the day for each row of the keys, in µs from the day's start."""
    first, last = (int(h * HOUR_US) for h in hours)
    moments: IntArray = first + (uniform(seed, purpose, *keys) * (last - first)).astype(np.int64)
    return np.minimum(moments, LAST_OFFSET_US)


def session_offsets_us(users: U64Array, days: IntArray, seed: int) -> IntArray:
    """Moments of clicks in µs from their day's start: one or two sessions per (user, day), clicks in row order.

    users, days
        Shape (n,), in any order of users and days; a (user, day) must be given whole.

    Within a session 3 to 60 seconds lie between clicks, mostly few. A day too full for that is compressed.
    """
    if not len(users):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((days, users))  # stable: file order within a (user, day)
    user, day = users[order], days[order]
    is_first = np.r_[True, (user[1:] != user[:-1]) | (day[1:] != day[:-1])]
    starts = np.flatnonzero(is_first)
    sizes = np.diff(np.r_[starts, len(user)])
    group = np.cumsum(is_first) - 1
    rank = np.arange(len(user)) - starts[group]
    keys = user[starts], day[starts]

    pause = (3 + 57 * uniform(seed, "pause", user, day, rank) ** 2) * MICROS_PER_S
    second = _second_session(seed, keys, sizes)
    between = 45 * MINUTE_US + uniform(seed, "between", *keys) * 180 * MINUTE_US
    pause = np.where(rank == second[group], between[group], pause)
    pause[starts] = 0
    elapsed = np.cumsum(pause.astype(np.int64))
    elapsed -= elapsed[starts][group]

    first = moment_us(seed, "first click", (6.0, 18.0), *keys)
    room = LAST_OFFSET_US - first
    needed = elapsed[starts + sizes - 1]
    squeeze = np.minimum(1.0, room / np.maximum(needed, 1))
    offsets = np.empty(len(user), dtype=np.int64)
    offsets[order] = first[group] + np.where(squeeze[group] < 1, (elapsed * squeeze[group]).astype(np.int64), elapsed)
    return offsets


def received_delay_us(seed: int, *keys: Keys) -> IntArray:
    """How long an event was under way: 50 to 2,000 ms, mostly short."""
    delays: IntArray = (50_000 + 1_950_000 * uniform(seed, "delay", *keys) ** 4).astype(np.int64)
    return delays


def _second_session(seed: int, keys: tuple[U64Array, IntArray], sizes: IntArray) -> IntArray:
    """Rank of the click that opens the second session, -1 where a (user, day) has one session."""
    has_two = (uniform(seed, "two sessions", *keys) < TWO_SESSIONS) & (sizes >= 2)
    at = 1 + (uniform(seed, "second session", *keys) * (sizes - 1)).astype(np.int64)
    return np.where(has_two, at, -1)

"""Sessions: spans of activity without a gap of more than 30 minutes, merged when a late event joins two.

Kept per row: every session that an event within the lateness bound could still change, and the newest eight that none
can. What is kept is therefore the same for any order of arrival within the bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import Ints, Section, deltas, row_starts, turned
from firstmile.compiled import compiled

GAP_MS = 30 * 60_000
KEPT_FINAL = 8
TIME_BITS = 43


@dataclass(frozen=True)
class Sessions:
    """Intervals of many rows, sorted by (user, start); `n_dropped`, shape (n_rows,), counts older ones not kept."""

    user: Ints
    start_ms: Ints
    end_ms: Ints
    n_dropped: Ints


def empty(n: int) -> Sessions:
    """No sessions in n rows."""
    none = np.zeros(0, np.int64)
    return Sessions(none, none, none, np.zeros(n, np.int64))


def first(sessions: Sessions, n: int) -> Sessions:
    """Those of the first n rows."""
    end = int(np.searchsorted(sessions.user, n))
    return Sessions(sessions.user[:end], sessions.start_ms[:end], sessions.end_ms[:end], sessions.n_dropped[:n])


def add(sessions: Sessions, user: Ints, event_ms: Ints, *, last_ms: Ints, lateness_ms: int) -> Sessions:
    """The sessions with events added, then trimmed.

    user, event_ms
        Shape (n_events,), any order.
    last_ms
        Shape (n_rows,): greatest event time per row, these events included.
    """
    if not len(user):
        return sessions
    known = ~_before_the_kept(sessions, user, event_ms)
    users = np.concatenate((sessions.user, user[known]))
    starts = np.concatenate((sessions.start_ms, event_ms[known]))
    ends = np.concatenate((sessions.end_ms, event_ms[known]))
    order = np.lexsort((starts, users))
    users, starts, ends = users[order], starts[order], ends[order]
    # Greatest end so far within a user: users ascend, so one running maximum over (user, end) serves all of them.
    reach = np.maximum.accumulate((users << TIME_BITS) | ends)
    opens = np.ones(len(users), bool)
    opens[1:] = (users[1:] != users[:-1]) | (starts[1:] - (reach[:-1] & ((1 << TIME_BITS) - 1)) > GAP_MS)
    first = np.flatnonzero(opens)
    merged = Sessions(users[first], starts[first], np.maximum.reduceat(ends, first), sessions.n_dropped)
    return _trim(merged, last_ms, lateness_ms)


def _before_the_kept(sessions: Sessions, user: Ints, event_ms: Ints) -> NDArray[np.bool_]:
    """Events older than every kept session of a row that has dropped some: their session is already counted."""
    n = len(sessions.n_dropped)
    begin = row_starts(sessions.user, n)
    oldest = np.zeros(n, np.int64)
    has = begin[:-1] < begin[1:]
    oldest[has] = sessions.start_ms[begin[:-1][has]]
    return (sessions.n_dropped[user] > 0) & (event_ms < oldest[user] - GAP_MS)


def _trim(sessions: Sessions, last_ms: Ints, lateness_ms: int) -> Sessions:
    n = len(sessions.n_dropped)
    final = sessions.end_ms < last_ms[sessions.user] - lateness_ms - GAP_MS
    # Final sessions end before all others of their row, so a rank from the back counts the final ones newest first.
    n_final = np.bincount(sessions.user[final], minlength=n)
    within = np.arange(len(sessions.user)) - row_starts(sessions.user, n)[sessions.user]
    drop = within < (n_final - KEPT_FINAL)[sessions.user]
    if not drop.any():
        return sessions
    dropped = sessions.n_dropped + np.bincount(sessions.user[drop], minlength=n)
    keep = ~drop
    return Sessions(sessions.user[keep], sessions.start_ms[keep], sessions.end_ms[keep], dropped)


def to_section(sessions: Sessions, last_ms: Ints) -> Section:
    """Packed form: from newest to oldest, time back from the newer session's start, and length."""
    row = sessions.user
    order = turned(row)
    back = last_ms[row] - sessions.start_ms[order]
    return Section(row, (deltas(row, back), (sessions.end_ms - sessions.start_ms)[order]))


def from_section(section: Section, last_ms: Ints, n_dropped: Ints) -> Sessions:
    """Inverse of to_section."""
    step, length = section.columns
    return Sessions(section.row, *_times(section.row, step, length, last_ms), n_dropped)


@compiled
def _times(row: Ints, step: Ints, length: Ints, last_ms: Ints) -> tuple[Ints, Ints]:
    """Starts and ends from oldest to newest, of steps back and lengths from newest to oldest."""
    n = len(row)
    start, end = np.empty(n, np.int64), np.empty(n, np.int64)
    first = 0
    while first < n:
        last = first
        while last + 1 < n and row[last + 1] == row[first]:
            last += 1
        back = 0
        for i in range(first, last + 1):
            back += step[i]
            at = first + last - i
            start[at] = last_ms[row[i]] - back
            end[at] = start[at] + length[i]
        first = last + 1
    return start, end

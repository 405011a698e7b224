"""The offline history of `user_activity`: one row per user and minute in which it changed, at the time it was known.

All users take their first changed minute together, then their second, and so on: one call of `fold` per round.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.activity import Events, fold
from feature_repo.applied import pack_applied, without_ids
from feature_repo.row import Rows, concat_rows, empty_rows, first_rows, pack_rows, unpack_rows
from pipelines.clean import CleanEvents, to_events
from pipelines.segment import segments

MINUTE_US = 60_000_000
ROWS_PER_GROUP = 40_000
ROWS_PACKED_AT_ONCE = 4_000
"""Packing costs two milliseconds a time, and a late round has the rows of a few users alone."""

Base = Mapping[str, tuple[bytes, bytes, int]]
"""Rows to start from: activity, applied and version by user."""

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        ("activity", pa.binary()),
        ("applied", pa.binary()),
    ]
)


@dataclass(frozen=True)
class _Plan:
    """Users by falling number of rounds, and the batch sorted by (round, user, arrival): `order` is where in it."""

    user_ids: NDArray[np.object_]
    events: Events
    order: NDArray[np.int64]
    edges: NDArray[np.int64]
    n_active: NDArray[np.int64]


def activity_history(
    events: CleanEvents,
    *,
    history_to_us: int | None = None,
    base: Base | None = None,
    segment_of: NDArray[np.object_] | None = None,
) -> Iterator[pa.Table]:
    """Tables of SCHEMA, of one or more rounds each, for all users of the batch.

    events
        In order of arrival (received_us).
    history_to_us
        End of a history read from files: live events received at or before it will be taken as contained. None:
        the events come from Kafka and their fences say what is contained.
    base
        Rows to start from; users who are not there start empty.
    segment_of
        Shape (n_events,): filled, as the tables are taken, with each event's segment by its row before its minute.
    """
    if not len(events.frame):
        return
    plan = _plan(events)
    rows = _start(plan.user_ids, base or {})
    waiting: list[Rows] = []
    for r, n in enumerate(plan.n_active.tolist()):
        rows = first_rows(rows, n)
        at = slice(int(plan.edges[r]), int(plan.edges[r + 1]))
        batch = plan.events.where(np.arange(at.start, at.stop))
        if segment_of is not None:
            segment_of[plan.order[at]] = segments(rows, batch.source.user, batch.source.received_us)
        rows, _ = fold(rows, batch)
        n_next = int(plan.n_active[r + 1]) if r + 1 < len(plan.n_active) else 0
        waiting.append(_as_known(rows, n_next, history_to_us))
        if sum(each.n_rows for each in waiting) >= ROWS_PACKED_AT_ONCE or not n_next:
            yield _table(waiting, plan.user_ids)
            waiting = []


def _start(user_ids: NDArray[np.object_], base: Base) -> Rows:
    if not base:
        return empty_rows(len(user_ids))
    found = [base.get(user_id, (None, None, 0)) for user_id in user_ids]
    activity, applied, version_us = zip(*found, strict=True)
    return unpack_rows(activity, applied, np.array(version_us, np.int64))


def _plan(events: CleanEvents) -> _Plan:
    frame = events.frame
    user, names = pd.factorize(frame["user_id"])
    minute = frame["received_us"].to_numpy(np.int64) // MINUTE_US
    by_user = np.lexsort((minute, user))
    u, m = user[by_user], minute[by_user]
    opens = np.concatenate(([True], (u[1:] != u[:-1]) | (m[1:] != m[:-1])))
    nth = np.cumsum(opens) - 1
    rounds = nth - nth[np.searchsorted(u, u)]
    n_rounds = np.zeros(len(names), np.int64)
    np.maximum.at(n_rounds, u, rounds + 1)
    rank = np.empty(len(names), np.int64)
    order = np.argsort(-n_rounds, kind="stable")
    rank[order] = np.arange(len(names))
    in_rounds = np.lexsort((rank[u], rounds))
    chosen = by_user[in_rounds]
    ordered = to_events(events, rank[user]).where(chosen)
    last = int(n_rounds.max())
    edges = np.searchsorted(rounds[in_rounds], np.arange(last + 1))
    n_active = np.searchsorted(-n_rounds[order], -np.arange(last), side="left")
    return _Plan(np.asarray(names, object)[order], ordered, chosen, edges, n_active)


def _as_known(rows: Rows, n_next: int, history_to_us: int | None) -> Rows:
    """The rows after a round. Those from n_next on are their users' last: they keep the message ids and reach to the
    end of the history; the others hold what was known by their own time."""
    applied = without_ids(rows.applied, n_next)
    if history_to_us is not None:
        is_last = np.arange(rows.n_rows) >= n_next
        applied = replace(applied, history_to_us=np.where(is_last, history_to_us, applied.max_received_us))
    return replace(rows, applied=applied)


def _table(rounds: Sequence[Rows], user_ids: NDArray[np.object_]) -> pa.Table:
    rows = concat_rows(rounds)
    columns = [
        pa.array(np.concatenate([user_ids[: each.n_rows] for each in rounds]), pa.string()),
        pa.array(rows.version_us, pa.timestamp("us", tz="UTC")),
        pa.array(pack_rows(rows), pa.binary()),
        pa.array(pack_applied(rows.applied), pa.binary()),
    ]
    return pa.table(columns, schema=SCHEMA)

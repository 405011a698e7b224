"""The offline history of `user_activity`: one row per user and minute in which it changed, at the time it was known.

All users take their first changed minute together, then their second, and so on: one call of `fold` per round.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.activity import Events, fold
from feature_repo.applied import pack_applied, without_ids
from feature_repo.row import Rows, empty_rows, first_rows, pack_rows
from pipelines.clean import CleanEvents, to_events

MINUTE_US = 60_000_000
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
    """Users by falling number of rounds, and the batch sorted by (round, user, arrival)."""

    user_ids: NDArray[np.object_]
    events: Events
    edges: NDArray[np.int64]
    n_active: NDArray[np.int64]


def activity_history(
    events: CleanEvents, *, history_to_us: int, on_round: Callable[[int], None] | None = None
) -> Iterator[pa.Table]:
    """Tables of SCHEMA, one per round, for all users of the batch.

    events
        In order of arrival (received_us).
    history_to_us
        End of the history: live events received at or before it will be taken as contained.
    on_round
        Called with the number of events of each round, for progress.
    """
    if not len(events.frame):
        return
    plan = _plan(events)
    rows = empty_rows(len(plan.user_ids))
    for r, n in enumerate(plan.n_active.tolist()):
        rows = first_rows(rows, n)
        batch = plan.events.where(np.arange(plan.edges[r], plan.edges[r + 1]))
        rows, _ = fold(rows, batch)
        n_next = int(plan.n_active[r + 1]) if r + 1 < len(plan.n_active) else 0
        yield _table(rows, plan.user_ids[:n], n_next, history_to_us)
        if on_round:
            on_round(len(batch.event_ms))


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
    return _Plan(np.asarray(names, object)[order], ordered, edges, n_active)


def _table(rows: Rows, user_ids: NDArray[np.object_], n_next: int, history_to_us: int) -> pa.Table:
    """The rows after a round. Those from n_next on are their users' last: they keep the message ids and reach to the
    end of the history; the others hold what was known by their own time."""
    n = rows.n_rows
    is_last = np.arange(n) >= n_next
    to_us = np.where(is_last, history_to_us, rows.applied.max_received_us)
    applied = replace(rows.applied, history_to_us=to_us)
    packed = pack_applied(without_ids(applied))
    if n_next < n:
        packed[n_next:] = pack_applied(applied)[n_next:]
    columns = [
        pa.array(user_ids, pa.string()),
        pa.array(rows.version_us, pa.timestamp("us", tz="UTC")),
        pa.array(pack_rows(rows), pa.binary()),
        pa.array(packed, pa.binary()),
    ]
    return pa.table(columns, schema=SCHEMA)

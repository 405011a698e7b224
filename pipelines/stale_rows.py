"""Lets `materialize` replace stored rows by the lake's: those of a rolled-back Redis, or all after a changed mapping.

A row's time also rises by 1 µs a change and with a profile's arrival, so "newer" says nothing here; fences do.
"""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import redis

from feature_repo.applied import Applied, unpack_applied
from feature_repo.fields import ACTIVITY
from feature_repo.online_store import time_field, user_key
from feature_repo.row import unpack_rows
from pipelines.rows import read_users

USERS_PER_READ = 10_000


def give_way(client: "redis.Redis", lake_history: Path, *, refold: bool = False) -> int:
    """Take the times off stored rows that lack what the lake's history has, so that `materialize` replaces them.

    The row itself stays until then.

    refold
        Of every row the history has: the lake was folded by other rules than these rows were.

    Returns how many there were; raises redis.RedisError.
    """
    if not lake_history.exists():
        return 0
    query = "SELECT user_id, arg_max(applied, event_timestamp) FROM read_parquet($1) GROUP BY user_id"
    with duckdb.connect() as connection:
        found = connection.execute(query, [str(lake_history)]).fetchall()
    n = 0
    for begin in range(0, len(found), USERS_PER_READ):
        users, applied = zip(*found[begin : begin + USERS_PER_READ], strict=True)
        stored = read_users(client, users)
        ours = unpack_rows(stored.activity, stored.applied, stored.versions_us).applied
        behind = range(len(users)) if refold else _behind(ours, unpack_applied([bytes(a) for a in applied]))
        with client.pipeline(transaction=False) as pipe:
            for i in behind:
                pipe.hdel(user_key(users[i]), time_field(ACTIVITY))  # type: ignore[arg-type]
            pipe.execute()
        n += sum(stored.activity[i] is not None for i in behind)
    return n


def _behind(ours: Applied, theirs: Applied) -> list[int]:
    """Rows with a fence that is less than the other's, or without it."""
    keys = ["user", "topic", "partition"]
    both = _fences(theirs).merge(_fences(ours), on=keys, how="left", suffixes=("_theirs", "_ours"))
    is_behind = both["offset_ours"].fillna(-1) < both["offset_theirs"]
    return [int(i) for i in np.unique(both["user"][is_behind])]


def _fences(applied: Applied) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user": applied.fence_user,
            "topic": applied.fence_topic,
            "partition": applied.fence_partition,
            "offset": applied.fence_offset,
        }
    )

"""The lake to the offline history: archived events folded again, on top of what files already told of their users."""

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from firstmile.names import CONTEXT
from firstmile.settings import Settings
from pipelines.clean import clean, read_mapping
from pipelines.history import ROWS_PER_GROUP, SCHEMA, Base, activity_history
from pipelines.lake import Lake
from pipelines.rules import read_rules
from pipelines.unknown_names import MAX_NAMES
from pipelines.view_history import ReplacedFile, Said, context_history, profile_history, write_file

FILE = "lake.parquet"
_AS_DECODED = {
    "source_topic": "topic",
    "source_topic_id": "topic_id",
    "source_partition": "partition",
    "source_offset": "offset",
}


def backfill_lake(settings: Settings) -> dict[str, Any]:
    """Write history/user_*/lake.parquet from every committed file of the lake; replaces the one before.

    Raises DataError for an empty lake or a committed file that is gone.
    """
    started = time.monotonic()
    frame = Lake(settings.lake).read().to_pandas().rename(columns=_AS_DECODED)
    mapping = read_mapping(settings.stream.events)
    said = [dict(p) for p in frame["properties"]]
    frame["onboarding_us"] = [_onboarding_us(p) for p in said]
    for column, names in mapping.fields.items():  # as the mapping says now, not when the event came
        frame[column] = [next((p[name] for name in names if name in p), None) for p in said]
    events = clean(frame, mapping, read_rules(settings.stream.rules))
    frame = events.frame
    base = _base(settings.history / "user_activity", frame["user_id"].unique())
    with ReplacedFile(settings.history / "user_activity" / FILE, SCHEMA) as file:
        for table in grouped(activity_history(events, base=base)):
            file.write(table)
    write_file(settings.history / "user_profile" / FILE, profile_history(_profiles(frame)))
    write_file(settings.history / "user_context" / FILE, context_history(_contexts(frame)))
    return {
        "n_events": len(frame),
        "n_users": int(frame["user_id"].nunique()),
        "n_history_rows": file.n_rows,
        **events.counts,
        "unknown_names": dict(islice(events.unknown_names().items(), MAX_NAMES)),
        "seconds": round(time.monotonic() - started, 2),
    }


def grouped(tables: Iterable[pa.Table], n_rows: int = ROWS_PER_GROUP) -> Iterator[pa.Table]:
    """The same rows in tables of at least n_rows, so that files hold few, large row groups."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= n_rows:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _onboarding_us(properties: dict[str, str]) -> int | None:
    text = properties.get("onboarding_at", "")
    return int(text) if text.isdigit() else None


def _base(folder: Path, user_ids: Iterable[str]) -> Base:
    """The last row that files other than the lake's tell of each user."""
    files = [str(path) for path in folder.glob("*.parquet") if path.name != FILE]
    if not files:
        return {}
    chosen = pa.table({"user_id": pa.array(list(user_ids), pa.string())})
    with duckdb.connect() as connection:
        connection.register("chosen", chosen)
        found = connection.execute(
            "SELECT user_id, arg_max(activity, event_timestamp), arg_max(applied, event_timestamp), "
            "epoch_us(max(event_timestamp)) FROM read_parquet($1) SEMI JOIN chosen USING (user_id) GROUP BY user_id",
            [files],
        ).fetchall()
    return {user_id: (bytes(activity), bytes(applied), int(us)) for user_id, activity, applied, us in found}


def _profiles(frame: pd.DataFrame) -> Said:
    known = frame[frame["profile_version"].notna()].drop_duplicates(["user_id", "profile_version"])
    versions = known["profile_version"].astype("int64")
    return Said(
        known["user_id"].tolist(),
        versions.tolist(),
        # An event read from a backlog may meet a profile said after it was received: known then at the earliest.
        np.maximum(known["received_us"], versions).tolist(),
        [dict(p) for p in known["profile"]],
    )


def _contexts(frame: pd.DataFrame) -> Said:
    seen = frame[frame["topic"] == CONTEXT]
    return Said(
        seen["user_id"].tolist(),
        seen["event_us"].tolist(),
        seen["received_us"].tolist(),
        [dict(p) for p in seen["properties"]],
    )

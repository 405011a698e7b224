"""The lake to the offline history: archived events folded again, on top of what files already told of their users."""

import time
from collections.abc import Iterable, Iterator, Set
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from feature_repo.latest import CONTEXT_VIEW, PROFILE_VIEW
from firstmile.names import CONTEXT, PROFILES
from firstmile.product import require_product
from firstmile.settings import Settings
from pipelines.bounds import ONBOARDING_AT, onboarding_us
from pipelines.clean import clean, clean_profiles, read_mapping
from pipelines.history import ROWS_PER_GROUP, SCHEMA, Base, activity_history
from pipelines.lake import Lake
from pipelines.rules import read_rules
from pipelines.statements import Statement, archived_statements, context_statements, statement
from pipelines.unknown_names import MAX_NAMES
from pipelines.view_history import ReplacedFile, latest_history, read_base, write_file

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
    require_product(settings.product)
    mapping = read_mapping(settings.product_file("events"))
    said = [dict(p) for p in frame["properties"]]
    began = zip((p.get(ONBOARDING_AT) for p in said), frame["received_us"].tolist(), strict=True)
    frame["onboarding_us"] = [onboarding_us(*each) for each in began]
    for column, names in mapping.fields.items():  # as the mapping says now, not when the event came
        frame[column] = [next((p[name] for name in names if name in p), None) for p in said]
    rules = read_rules(settings.product_file("cleaning"))
    is_profile = frame["topic"] == PROFILES
    profiles = clean_profiles(frame[is_profile], rules)
    events = clean(frame[~is_profile], mapping, rules)
    frame = events.frame
    base = _base(settings.history / "user_activity", frame["user_id"].unique())
    with ReplacedFile(settings.history / "user_activity" / FILE, SCHEMA) as file:
        for table in grouped(activity_history(events, base=base)):
            file.write(table)
    for view, statements in (
        (PROFILE_VIEW, [*archived_statements(profiles), *_met(frame, set(profiles["user_id"]))]),
        (CONTEXT_VIEW, list(context_statements(frame[frame["topic"] == CONTEXT]))),
    ):
        folder = settings.history / view.name
        others = read_base(folder, [each.user_id for each in statements], view, but=FILE)
        write_file(folder / FILE, latest_history(view, statements, others))
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


def _met(frame: pd.DataFrame, archived: Set[str]) -> Iterator[Statement]:
    """Profiles as events met them, of users of whom no profile record is archived: lakes of before they were."""
    known = frame[frame["profile_version"].notna() & ~frame["user_id"].isin(archived)]
    for row in known.drop_duplicates(["user_id", "profile_version"]).to_dict("records"):
        version_us = int(row["profile_version"])
        # An event read from a backlog may meet a profile said after it was received: known then at the earliest.
        known_us = max(int(row["received_us"]), version_us)
        yield statement(PROFILE_VIEW, row["user_id"], version_us, known_us, row["profile"], is_whole=True)

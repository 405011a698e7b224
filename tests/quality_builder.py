"""Small data that holds every expectation, for tests that break one thing of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from examples.oulad.tables.tables import day_end_us, day_start_us
from feature_repo.services import model_features
from training.dataset import TrainingSet
from training.models import Rows
from training.tasks import TASKS

P = "AAA_2013J"
MICROS_PER_HOUR = 3_600_000_000

HISTORY = {
    "user_id": pa.string(),
    "event_timestamp": pa.timestamp("us", tz="UTC"),
    "activity": pa.binary(),
    "applied": pa.binary(),
}
LAKE = {
    "source_topic": pa.string(),
    "source_topic_id": pa.string(),
    "source_partition": pa.int32(),
    "source_offset": pa.int64(),
    "message_id": pa.string(),
    "user_id": pa.string(),
    "name": pa.string(),
    "event_us": pa.int64(),
    "received_us": pa.int64(),
    "weight": pa.int64(),
    "family": pa.string(),
}


def training_set(model: str = "activation", *, n_users: int = 100, share: float = 0.8) -> TrainingSet:
    """Users 0 … n - 1 at the task's first and last day; the share of them is of class 1, the rest of the others."""
    task, n_other = TASKS[model], len(TASKS[model].classes) - 1
    other = [k for k in range(n_other + 1) if k != 1]
    labels = [1 if i < share * n_users else other[i % n_other] for i in range(n_users)]
    days = [task.snapshot_days[0], task.snapshot_days[-1]]
    users = pd.DataFrame(
        [(f"{P}-{i}", P, i, day, labels[i], day + 14, day_end_us(P, day)) for i in range(n_users) for day in days],
        columns=["user_id", "cohort", "person", "day", "label", "until_day", "now_us"],
    )
    users.insert(5, "judged_label", users["label"])
    features = tuple(model_features(model))
    x = np.ones((len(users), len(features)))
    person = users["person"].to_numpy(np.int64)
    rows = Rows(x, users["label"].to_numpy(np.int64), np.full(len(users), 0.5), person, users["cohort"].to_numpy(str))
    counts = {day: {"rows": n_users, "left_out:no row in the history": 0} for day in days}
    return TrainingSet(model, features, users, rows, counts, task)


def write_history(home: Path, *, n_users: int = 60, to_day: int = 30, drop: str | None = None, name: str = "a") -> Path:
    """A file of user_activity: a row per user on day 0 and on the last day."""
    days = [0, to_day]
    columns: dict[str, list[Any]] = {
        "user_id": [f"{P}-{i}" for i in range(n_users) for _ in days],
        "event_timestamp": [day_start_us(P, day) + 1 for _ in range(n_users) for day in days],
        "activity": [b"row"] * n_users * 2,
        "applied": [b""] * n_users * 2,
    }
    return _write(home / "history" / "user_activity" / f"{name}.parquet", columns, HISTORY, drop)


def write_lake(
    home: Path,
    received_us: Sequence[int],
    *,
    name: str = "a",
    user: str = "u1",
    drop: str | None = None,
    is_noted: bool = True,
    **changed: Any,
) -> Path:
    """A file of the lake, with its manifest entry if `is_noted`; `changed` is one value for a column's every row."""
    n = len(received_us)
    columns: dict[str, list[Any]] = {
        "source_topic": ["actions"] * n,
        "source_topic_id": [name] * n,
        "source_partition": [0] * n,
        "source_offset": list(range(n)),
        "message_id": [f"{name}{i}" for i in range(n)],
        "user_id": [user] * n,
        "name": ["Page Viewed"] * n,
        "event_us": list(received_us),
        "received_us": list(received_us),
        "weight": [1] * n,
        "family": ["page_view"] * n,
    }
    columns |= {column: [value] * n for column, value in changed.items()}
    if is_noted:
        manifest = home / "lake" / "manifest"
        manifest.mkdir(parents=True, exist_ok=True)
        (manifest / f"{name}.json").write_bytes(orjson.dumps({"file": f"{name}.parquet", "n_rows": n}))
    return _write(home / "lake" / "events" / f"{name}.parquet", columns, LAKE, drop)


def _write(path: Path, columns: dict[str, list[Any]], types: dict[str, pa.DataType], drop: str | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns, schema=pa.schema(list(types.items())))
    pq.write_table(table.drop_columns([drop]) if drop else table, path)
    return path

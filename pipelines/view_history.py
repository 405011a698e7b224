"""Offline history of the views that hold what a source said last: profile and context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.fields import CONTEXT_STRINGS, CONTEXT_TIME, PROFILE_NUMBERS, PROFILE_STRINGS, PROFILE_TIME


@dataclass(frozen=True)
class Said:
    """What a source said of users over time; all of length n.

    source_us: when it was so at the source · received_us: when it was known · values: texts by name.
    """

    user_ids: Sequence[str]
    source_us: Sequence[int]
    received_us: Sequence[int]
    values: Sequence[Mapping[str, Any]]


def profile_history(said: Said) -> pa.Table:
    """Rows of `user_profile`."""
    return _history(said, PROFILE_STRINGS, PROFILE_NUMBERS, PROFILE_TIME)


def context_history(said: Said) -> pa.Table:
    """Rows of `user_context`."""
    return _history(said, CONTEXT_STRINGS, (), CONTEXT_TIME)


def _history(said: Said, texts: Sequence[str], numbers: Sequence[str], time_name: str) -> pa.Table:
    """A row per statement that was the latest by source time when it became known."""
    frame = pd.DataFrame({"user_id": said.user_ids, "source_us": said.source_us, "received_us": said.received_us})
    ordered = frame.sort_values(["user_id", "received_us"], kind="stable")
    kept = ordered[ordered.groupby("user_id")["source_us"].cummax() == ordered["source_us"]]
    values = [said.values[i] for i in kept.index]
    columns: dict[str, pa.Array] = {
        "user_id": pa.array(kept["user_id"], pa.string()),
        "event_timestamp": pa.array(np.asarray(kept["received_us"], np.int64), pa.timestamp("us", tz="UTC")),
    }
    for name in texts:
        columns[name] = pa.array([v.get(name) for v in values], pa.string())
    for name in numbers:
        columns[name] = pa.array([_whole(v.get(name)) for v in values], pa.int64())
    columns[time_name] = pa.array(np.asarray(kept["source_us"], np.int64))
    return pa.table(columns)


def _whole(value: Any) -> int | None:
    return None if value is None or value == "" or value != value else int(float(value))


class ReplacedFile:
    """A Parquet file written beside its final place and put there when it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._unfinished = path, path.with_suffix(".part")
        self._writer = pq.ParquetWriter(self._unfinished, schema, compression="zstd")
        self.n_rows = 0

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self._writer.write_table(table)
        self.n_rows += table.num_rows

    def __enter__(self) -> "ReplacedFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)


def write_file(path: Path, table: pa.Table) -> None:
    """Write one table as one file."""
    with ReplacedFile(path, table.schema) as file:
        file.write(table)

"""Offline history of the views that hold what a source said last: profile and context."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.latest import NOTHING, Latest, LatestView, merge
from pipelines.statements import Statement

Base = Mapping[str, Sequence[tuple[int, Latest]]]
"""What other files of the history tell of users: (µs when it was known, all that was known then), in time."""


def latest_history(view: LatestView, statements: Iterable[Statement], base: Base | None = None) -> pa.Table:
    """Rows of a view: one per user and instant at which a statement changed what was known, with all that was known.

    base
        Merged in as it became known. A row of it that lacks what was stated before gets a later one beside it.
    """
    by_user: dict[str, list[Statement]] = {}
    for each in statements:
        by_user.setdefault(each.user_id, []).append(each)
    rows = [
        (user_id, at_us, latest)
        for user_id in sorted(by_user)
        for at_us, latest in _changes(by_user[user_id], (base or {}).get(user_id, ()))
    ]
    return _table(view, rows)


def _changes(statements: Sequence[Statement], base: Sequence[tuple[int, Latest]]) -> list[tuple[int, Latest]]:
    """(µs, all that was known) of one user; of several changes at one instant the last."""
    # What files told of an instant comes before what was stated at it.
    told = [(at_us, 0, latest) for at_us, latest in base]
    told += [(each.received_us, 1, each.latest) for each in statements]
    taken = {at_us for at_us, _ in base}
    known, steps, changed_us = NOTHING, dict[int, Latest](), set[int]()
    for at_us, is_stated, latest in sorted(told, key=lambda each: each[:2]):
        before, known = known, merge((known, latest))
        steps[at_us] = known
        if known != (before if is_stated else latest):
            changed_us.add(next(us for us in count(at_us) if us not in taken))
    times = list(steps)
    return [(us, steps[times[bisect_right(times, us) - 1]]) for us in sorted(changed_us)]


def read_base(folder: Path, user_ids: Sequence[str], view: LatestView, *, but: str) -> Base:
    """What the files of a view's history tell of users, all but one file of that name."""
    files = [str(path) for path in folder.glob("*.parquet") if path.name != but]
    if not files:
        return {}
    with duckdb.connect() as connection:
        connection.register("chosen", pa.table({"user_id": pa.array(list(user_ids), pa.string())}))
        found: pa.Table = connection.execute(
            "SELECT *, epoch_us(event_timestamp) AS at_us FROM read_parquet($1, union_by_name = true) "
            "SEMI JOIN chosen USING (user_id) ORDER BY user_id, event_timestamp",
            [files],
        ).to_arrow_table()
    base: dict[str, list[tuple[int, Latest]]] = {}
    for row in found.to_pylist():
        base.setdefault(row["user_id"], []).append((row["at_us"], view.read(row)))
    return base


def _table(view: LatestView, rows: Sequence[tuple[str, int, Latest]]) -> pa.Table:
    stored = [view.stored(latest) for _, _, latest in rows]
    kinds = {name: pa.string() for name in (*view.texts, view.times_name)} | {n: pa.float64() for n in view.reals}
    columns: dict[str, pa.Array] = {
        "user_id": pa.array([user_id for user_id, _, _ in rows], pa.string()),
        "event_timestamp": pa.array([at_us for _, at_us, _ in rows], pa.timestamp("us", tz="UTC")),
    }
    for name in view.fields:
        columns[name] = pa.array([each[name] for each in stored], kinds.get(name, pa.int64()))
    return pa.table(columns)


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

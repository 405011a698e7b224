"""Day tiles of the content statistics, kept as files, and the history made of them.

    content/<source>-<month>.parquet          absolute counts per (content_id, segment, day)
    history/content_stats/<month>.parquet     per (content_id, day): totals of all sources up to and with that day

Writing the same tiles again changes nothing. One writer at a time: `locked`.
"""

import fcntl
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.content_earlier import pack_openings
from feature_repo.content_segments import pack_segments
from feature_repo.fields import BY_SEGMENT, CONTENT, CONTENT_COUNTS, OPENINGS
from firstmile.settings import Settings
from pipelines.view_history import write_file

KEYS: Final = ["content_id", "segment", "day"]
_COUNTS = [(name, pa.int64()) for name in CONTENT_COUNTS]
TILES: Final = pa.schema(
    [("content_id", pa.string()), ("segment", pa.string()), ("day", pa.int32()), *_COUNTS, ("received_us", pa.int64())]
)
HISTORY: Final = pa.schema(
    [
        ("content_id", pa.string()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        *_COUNTS,
        (BY_SEGMENT, pa.string()),
        (OPENINGS, pa.string()),
    ]
)
NO_MONTH: Final = "0000-00"
N_OPENED: Final = CONTENT_COUNTS.index("n_opened")


class ContentTiles:
    """The tiles under a home, and the history of the view `content_stats`."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.content
        self.history = settings.history / CONTENT

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, other processes' too: archive and backfill both read, change and write."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def upsert(self, source: str, tiles: pa.Table) -> None:
        """Put tiles in the place of those with the same content, segment and day."""
        for month, part in _by_month(tiles.to_pandas()):
            path = self.folder / f"{source}-{month}.parquet"
            before = [pq.read_table(path).to_pandas()] if path.exists() else []
            merged = pd.concat([*before, part]).drop_duplicates(KEYS, keep="last").sort_values(KEYS)
            write_file(path, _table(merged, TILES))

    def replace(self, source: str, tiles: pa.Table) -> None:
        """Put tiles in the place of all of a source."""
        old = set(self.folder.glob(f"{source}-*.parquet"))
        for month, part in _by_month(tiles.to_pandas()):
            path = self.folder / f"{source}-{month}.parquet"
            write_file(path, _table(part.sort_values(KEYS), TILES))
            old.discard(path)
        for path in old:
            path.unlink()

    def read(self, content_ids: Collection[str] | None = None) -> pd.DataFrame:
        """Tiles of all sources, of some content items or of all."""
        filters = None if content_ids is None else [("content_id", "in", list(content_ids))]
        files = sorted(self.folder.glob("*.parquet"))
        tables = [pq.read_table(path, filters=filters) for path in files]
        found: pd.DataFrame = pa.concat_tables([TILES.empty_table(), *tables]).to_pandas()
        return found

    def refresh_history(self, changed: pa.Table | None = None) -> pd.DataFrame:
        """Make the history anew of the content these tiles are about, from the first month they lie in; None: of all.

        Returns the last row of each of these.
        """
        if changed is None:
            rows, ids, first = content_history(self.read()), None, NO_MONTH
        else:
            ids = set(changed["content_id"].to_pylist())
            rows = content_history(self.read(ids))
            first = min((month for month, _ in _by_month(changed.to_pandas())), default=NO_MONTH)
        old = set(self.history.glob("*.parquet")) if ids is None else set()
        for month, part in _by_month(rows):
            path = self.history / f"{month}.parquet"
            old.discard(path)
            if month < first:
                continue
            if ids is not None and path.exists():
                others = _history(path).to_pandas()
                part = pd.concat([others[~others["content_id"].isin(ids)], part])
            write_file(path, _table(part.sort_values(["content_id", "event_timestamp"]), HISTORY))
        for path in old:
            path.unlink()
        self.ensure_history()
        return rows.drop_duplicates("content_id", keep="last")

    def ensure_history(self) -> None:
        """An empty file where there is none, so that the view can be read and materialized."""
        if not any(self.history.glob("*.parquet")):
            write_file(self.history / f"{NO_MONTH}.parquet", HISTORY.empty_table())

    def latest(self) -> pd.DataFrame:
        """The last row of each content item in the history."""
        tables = [_history(path) for path in sorted(self.history.glob("*.parquet"))]
        rows: pd.DataFrame = pa.concat_tables([HISTORY.empty_table(), *tables]).to_pandas()
        return rows.sort_values("event_timestamp").drop_duplicates("content_id", keep="last")


def content_history(tiles: pd.DataFrame) -> pd.DataFrame:
    """Rows of `content_stats` and their day: per content and day with tiles, the totals up to and with that day.

    A row's time is the greatest received_at of its day's tiles, so it was known by then and no day runs into the next.
    An item's last row, the one that goes online, has its openings of the last days; the others have "".

    tiles
        Columns of TILES; a key may stand there once per source. Pure.
    """
    columns = ["content_id", "day", "segment", *CONTENT_COUNTS, "received_us"]
    ordered = tiles[columns].sort_values(columns[:3]).itertuples(index=False, name=None)
    out: list[tuple[Any, ...]] = []
    for content_id, of_content in groupby(ordered, key=itemgetter(0)):
        by_segment: dict[str, list[int]] = {}
        openings: list[tuple[int, int]] = []
        for day, of_day in groupby(of_content, key=itemgetter(1)):
            known_us = 0
            for _, _, segment, *counts, received_us in of_day:
                before = by_segment.get(segment, [0] * len(CONTENT_COUNTS))
                by_segment[segment] = [a + b for a, b in zip(before, counts, strict=True)]
                known_us = max(known_us, received_us)
            totals = [sum(column) for column in zip(*by_segment.values(), strict=True)]
            openings.append((known_us, totals[N_OPENED]))
            out.append((content_id, known_us, *totals, pack_segments(by_segment), "", day))
        out[-1] = (*out[-1][:-2], pack_openings(openings), day)
    frame = pd.DataFrame(out, columns=["content_id", "event_timestamp", *CONTENT_COUNTS, BY_SEGMENT, OPENINGS, "day"])
    times = pd.to_datetime(frame["event_timestamp"].astype(np.int64), unit="us", utc=True)
    return frame.assign(event_timestamp=times.astype("datetime64[us, UTC]"))


def _by_month(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    months = frame["day"].to_numpy(np.int64).astype("datetime64[D]").astype("datetime64[M]").astype(str)
    for month, part in frame.groupby(months, sort=True):
        yield str(month), part


def _history(path: Path) -> pa.Table:
    """A file of the history; a column that was not there when it was written is null."""
    return pq.read_table(path, schema=HISTORY)


def _table(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(frame[schema.names], schema, preserve_index=False)

"""Content statistics from files: the same count as the stream's, over everything a source has."""

import time
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyspark.sql import SparkSession

from firstmile.settings import Settings
from pipelines.content import EVENTS, content_stats
from pipelines.content_tiles import TILES, ContentTiles
from pipelines.lake import Lake
from pipelines.spark import spark_session

LAKE: Final = "lake"


def event_files(settings: Settings, source: str) -> list[Path]:
    """Files of events with a segment: those the archive committed, or those the backfill of a recorded source left.

    Raises DataError when a committed file is gone.
    """
    if source != LAKE:
        return sorted((settings.content / "events").glob(f"{source}-*.parquet"))
    lake = Lake(settings.lake)
    return [lake.events / entry.file for entry in lake.entries() if entry.file]


def backfill_content(settings: Settings, source: str) -> dict[str, Any]:
    """Count a source anew, put its tiles in the place of what it gave before, and make the history of them.

    Raises DataError when a committed file of the lake is gone.
    """
    started = time.monotonic()
    store = ContentTiles(settings)
    with store.locked():  # before the files are listed: what the archive adds meanwhile is counted by it after us
        tiles = _count(settings, event_files(settings, source))
        store.replace(source, tiles)
        rows = store.refresh_history()
    return {"n_tiles": tiles.num_rows, "n_contents": len(rows), "seconds": round(time.monotonic() - started, 2)}


def _count(settings: Settings, files: list[Path]) -> pa.Table:
    if not files:
        return TILES.empty_table()
    was_there = SparkSession.getActiveSession() is not None
    session = spark_session(settings, "content")
    try:
        events = session.read.schema(EVENTS).parquet(*map(str, files))
        return content_stats(events).toArrow().select(TILES.names).cast(TILES)
    finally:
        if not was_there:
            session.stop()

"""The streaming form of the content statistics, run by `firstmile archive` beside its query: lake files ─► tiles.

It reads what the archive wrote and not the topic: the lake holds each source record once with the segment it first
met, and holds all of it, so that a lost checkpoint is made anew from every file where Kafka may have forgotten.

Effects of a batch, each of absolute values: tiles ─► history ─► online store ─► (Spark's commit).
"""

import logging
from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from firstmile.errors import FirstmileError
from firstmile.settings import Settings
from pipelines.content import DELAY, EVENTS, content_stats
from pipelines.content_online import ContentPublisher
from pipelines.content_tiles import TILES, ContentTiles
from pipelines.lake import Lake

log = logging.getLogger(__name__)

SOURCE = "lake"
STEPS = ("tiles", "history", "online")
"""Names of the effects, for tests that stop between two of them."""
ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"


class ContentQuery:
    """The running query and what its batches did.

    after
        Called with the name of each effect when it has happened.
    """

    def __init__(self, settings: Settings, *, after: Callable[[str], None] = lambda _: None) -> None:
        self.settings = settings
        self.failure: FirstmileError | None = None
        self.n_published = 0
        self.n_dropped = 0
        self._query: StreamingQuery | None = None
        self._looked_at = -1
        self._tiles = ContentTiles(settings)
        self._publisher = ContentPublisher(settings)
        self._after = after

    def start(self, session: SparkSession, *, once: bool) -> StreamingQuery:
        """Publish what an earlier run may not have, then start the query; `once` counts what is there and ends."""
        settings, events = self.settings, Lake(self.settings.lake).events
        events.mkdir(parents=True, exist_ok=True)
        self.n_published += self._publisher.publish(self._tiles.latest())
        # Ids of a day: outside the Java heap.
        session.conf.set("spark.sql.streaming.stateStore.providerClass", ROCKSDB)
        files = session.readStream.schema(EVENTS).option("pathGlobFilter", "*.parquet").parquet(str(events))
        writer = (
            content_stats(files)
            .writeStream.outputMode("update")
            .foreachBatch(self._run_batch)
            .option("checkpointLocation", str(settings.checkpoints / "content"))
        )
        interval = f"{settings.stream.archive_interval_s} seconds"
        timed = writer.trigger(availableNow=True) if once else writer.trigger(processingTime=interval)
        self._query = timed.queryName("firstmile-content").start()
        return self._query

    def look_for_dropped(self) -> None:
        """Count what the last finished batch left out, because it was received too long before what came earlier."""
        progress = self._query.lastProgress if self._query else None
        if progress is None or progress["batchId"] <= self._looked_at:
            return
        self._looked_at = progress["batchId"]
        dropped = sum(state["numRowsDroppedByWatermark"] for state in progress["stateOperators"])
        self.n_dropped += dropped
        if dropped:
            log.warning(
                "content statistics left out %s events received more than %s before the newest (a replay of older "
                "history?); `firstmile backfill lake` counts them",
                dropped,
                DELAY,
            )

    def _run_batch(self, batch: DataFrame, batch_id: int) -> None:
        self.look_for_dropped()
        try:
            tiles = batch.toArrow().select(TILES.names).cast(TILES)
            if not tiles.num_rows:
                return
            with self._tiles.locked():
                self._tiles.upsert(SOURCE, tiles)
                self._after("tiles")
                rows = self._tiles.refresh_history(tiles)
            self._after("history")
            self.n_published += self._publisher.publish(rows)
            self._after("online")
        except FirstmileError as error:
            self.failure = error
            raise
        log.info("content statistics: %s tiles of %s items", tiles.num_rows, len(rows))

"""`firstmile archive`: enriched events ─► the lake ─► content statistics, by Spark Structured Streaming, every minute.

Order of effects: the file, the manifest entry that makes it count, Spark's commit. Done again after a kill, a batch
without an entry writes the same file and its entry, one with an entry is left as it is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark text uses
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.streaming import StreamingQuery

from firstmile.broker import describe_topics
from firstmile.cli import console, emit
from firstmile.errors import FirstmileError
from firstmile.metrics import serve
from firstmile.names import ENRICHED
from firstmile.settings import Settings, load_settings
from firstmile.stopping import on_stop_signals
from firstmile.wire import HEADER, Registry
from pipelines.archive_lag import archive_lag
from pipelines.content_query import ContentQuery
from pipelines.lake import Lake
from pipelines.metrics import ArchiveMetrics, Gauges, Reading, Sample
from pipelines.offsets import batch_offsets, checkpoint_folder
from pipelines.query import run_until
from pipelines.spark import spark_session
from pipelines.topic_checks import require_topics
from pipelines.topics import ensure_topics, schema_text

log = logging.getLogger(__name__)

MAX_OFFSETS_PER_BATCH = 200_000
_TIMES = {"event_us": "event_time", "received_us": "received_at"}


class Archive:
    """The running query and what it has archived."""

    def __init__(self, settings: Settings, *, after: Callable[[str], None] = lambda _: None) -> None:
        self.settings = settings
        self.lake = Lake(settings.lake, after=after)
        self.failure: FirstmileError | None = None
        self.n_rows = 0
        self.metrics = ArchiveMetrics()
        self._registry = Registry(settings.registry_url, timeout_s=settings.registry.timeout_s)

    def start(self, session: SparkSession, *, once: bool) -> StreamingQuery:
        """Start the query; `once` archives what is there and ends."""
        settings = self.settings
        ensure_topics(settings)
        require_topics(settings)
        topics = describe_topics(settings, [ENRICHED])
        self._topic_id = topics[ENRICHED].topic_id
        checkpoint = checkpoint_folder(settings.checkpoints, topics)
        self._checkpoint = checkpoint.with_name(checkpoint.name.replace("stream-", "archive-"))
        return self.query(session, once=once)

    def query(self, session: SparkSession, *, once: bool) -> StreamingQuery:
        """Start the query where it stopped."""
        settings = self.settings
        source = (
            session.readStream.format("kafka")
            .option("kafka.bootstrap.servers", settings.kafka_servers)
            .option("subscribe", ENRICHED)
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", MAX_OFFSETS_PER_BATCH)
            .load()
        )
        writer = source.writeStream.foreachBatch(self._run_batch).option("checkpointLocation", str(self._checkpoint))
        interval = f"{settings.stream.archive_interval_s} seconds"
        timed = writer.trigger(availableNow=True) if once else writer.trigger(processingTime=interval)
        return timed.queryName("firstmile-archive").start()

    def _run_batch(self, batch: DataFrame, batch_id: int) -> None:
        began = time.perf_counter()
        try:
            table = self._decode(batch).toArrow()
            end = batch_offsets(self._checkpoint, batch_id)
            entry = self.lake.commit(table, end, topic_id=self._topic_id)
        except FirstmileError as error:
            self.failure = error
            raise
        self.n_rows += entry.n_rows
        self.metrics.rows.inc(entry.n_rows)
        self.metrics.again.inc(table.num_rows - entry.n_rows)
        self.metrics.files.inc(bool(entry.file))
        self.metrics.seconds.observe(time.perf_counter() - began)
        log.info("archived %s events (%s sent again)", entry.n_rows, table.num_rows - entry.n_rows)

    def gauges(self) -> Iterator[Reading]:
        """How far behind, per partition, as `metrics.Gauges` takes it; none while Kafka is away."""
        try:
            lags = archive_lag(self.settings)
        except FirstmileError:
            return
        ages: list[Sample] = [([str(lag.partition)], lag.age_s) for lag in lags]
        behind: list[Sample] = [([str(lag.partition)], float(lag.n_behind)) for lag in lags]
        yield "firstmile_archive_lag_seconds", "Age of the oldest event not in the lake", ["partition"], ages
        yield "firstmile_archive_kafka_lag_records", "Enriched events not in the lake", ["partition"], behind

    def _decode(self, batch: DataFrame) -> DataFrame:
        schema_id = F.conv(F.hex(F.substring("value", 2, 4)), 16, 10).cast("bigint")
        framed = batch.select("partition", "offset", "value", schema_id.alias("schema_id"))
        body = F.substring(F.col("value"), HEADER.size + 1, F.length("value"))
        ours = schema_text(ENRICHED)
        case = F.when(F.lit(False), from_avro(body, ours))  # a batch may be empty, as the first is before any event
        for row in framed.select("schema_id").distinct().collect():
            text = self._registry.writer_text(row["schema_id"])
            value = from_avro(body, text, {"avroSchema": ours})
            case = case.when(F.col("schema_id") == row["schema_id"], value)
        events = framed.withColumn("e", case).orderBy("partition", "offset")
        flat = events.select(F.col("partition").alias("enriched_partition"), "e.*").withColumns(
            {name: F.unix_micros(field) for name, field in _TIMES.items()}
        )
        return flat.drop(*_TIMES.values())


def run(
    once: Annotated[bool, typer.Option("--once", help="archive what is there and end")] = False,
) -> None:
    """Write enriched events to the lake, and count content, until SIGTERM or Ctrl-C."""
    settings = load_settings()
    stopping = on_stop_signals()
    archive, content = Archive(settings), ContentQuery(settings)
    with _metrics(archive):  # first: a taken port is known before Spark is started
        session = spark_session(settings, "archive")
        query = archive.start(session, once=once)
        _run(archive, content, session, query, stopping=stopping, once=once)
    content.look_for_dropped()
    emit(
        {
            "n_rows": archive.n_rows,
            "n_files": len(archive.lake.entries()),
            "covered": archive.lake.covered(),
            "content": {"n_published": content.n_published, "n_dropped": content.n_dropped},
        }
    )


def _run(
    archive: Archive,
    content: ContentQuery,
    session: SparkSession,
    query: StreamingQuery,
    *,
    stopping: threading.Event,
    once: bool,
) -> None:
    def again() -> StreamingQuery:
        return archive.query(session, once=once)

    ready = f"ready: archive of {ENRICHED} into {archive.settings.lake}"
    if not once:
        counting = content.start(session, once=False)
        console.print(ready, soft_wrap=True)
        run_until(stopping, query, lambda: archive.failure or content.failure, again=again, beside=counting)
        return
    console.print(ready, soft_wrap=True)
    run_until(stopping, query, lambda: archive.failure, again=again)
    if not stopping.is_set():
        run_until(stopping, content.start(session, once=True), lambda: content.failure)


@contextmanager
def _metrics(archive: Archive) -> Iterator[None]:
    """The archive's Prometheus endpoint, if a port is set."""
    archive.metrics.registry.register(Gauges(archive.gauges))
    stream = archive.settings.stream
    setting = "FIRSTMILE_STREAM__ARCHIVE_METRICS_PORT"
    stop = serve(archive.metrics.registry, stream.metrics_host, stream.archive_metrics_port, setting=setting)
    try:
        yield
    finally:
        stop()

"""`firstmile stream`: Kafka ─► decode ─► clean ─► enrich ─► fold ─► online store, by Spark Structured Streaming.

Spark only reads, decodes and drives the batches; all state is in the rows.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import redis
from pyspark.sql import DataFrame
from pyspark.sql.streaming import StreamingQuery

from feature_repo.online_store import connect
from firstmile.broker import TopicInfo, admin, describe_topics, producer
from firstmile.cli import console
from firstmile.errors import DependencyError, FirstmileError
from firstmile.metrics import serve
from firstmile.names import STREAM_TOPICS
from firstmile.progress_line import progress_line
from firstmile.settings import Settings, load_settings
from firstmile.stopping import on_stop_signals
from firstmile.wire import Registry
from pipelines.batch import BatchWriter, describe
from pipelines.clean import read_mapping
from pipelines.decode import WriterSchemas, decoded, raw
from pipelines.enrich import SideOutputs
from pipelines.lake import Lake
from pipelines.metrics import Gauges, StreamMetrics
from pipelines.offsets import (
    batch_offsets,
    checkpoint_folder,
    first_offsets,
    initial_offsets,
    starting_offsets,
    to_json,
)
from pipelines.query import run_until
from pipelines.reading import TOMBSTONE, Reading
from pipelines.rules import read_rules
from pipelines.spark import spark_session
from pipelines.stream_lag import StreamLag
from pipelines.topic_checks import require_topics
from pipelines.topics import ensure_topics

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 5.0


class Stream:
    """The running query and what its batches did."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.failure: FirstmileError | None = None
        self.topics: dict[str, TopicInfo] = {}
        self.writer: BatchWriter
        self.metrics = StreamMetrics()
        self.show: Callable[[str], None] | None = None
        self._schemas: WriterSchemas
        self._checkpoint: Path
        self._start: dict[tuple[str, int], int] = {}
        self._query: StreamingQuery | None = None
        self._logged_at = 0.0

    def start(self) -> StreamingQuery:
        """Prepare topics, store and schemas, then start the query."""
        settings = self.settings
        ensure_topics(settings)
        require_topics(settings)
        self.topics = describe_topics(settings, STREAM_TOPICS)
        registry = Registry(settings.registry_url, timeout_s=settings.registry.timeout_s)
        topic_ids = {name: info.topic_id for name, info in self.topics.items()}
        client = connect(settings.redis_url, timeout_s=settings.redis.timeout_s)
        self._schemas = WriterSchemas(registry)
        self._schemas.learn_latest()
        outputs = SideOutputs(registry, topic_ids)
        # No record of its own accord gives up: one that did, with later ones sent, would leave a gap in the enriched
        # events that the archive takes for archived. `flush` still gives up, and then the process ends.
        out = producer(settings, **{"delivery.timeout.ms": 0})
        mapping, rules = read_mapping(settings.stream.events), read_rules(settings.stream.rules)
        self._reading = Reading(mapping.fields, rules.watched, topic_ids)
        self.writer = BatchWriter(client, out, outputs, mapping, topic_ids, rules=rules)
        self._checkpoint = checkpoint_folder(settings.checkpoints, self.topics)
        first = first_offsets(admin(settings), self.topics, timeout_s=settings.kafka.timeout_s)
        if (self._checkpoint / "offsets").exists():
            self._start = first  # Spark goes on where it was; `check` holds that against the progress records
        else:
            archived = Lake(settings.lake).partitions(topic_ids)
            self._start = starting_offsets(client, self.topics, first, archived=archived)
        return self.query()

    def query(self) -> StreamingQuery:
        """Start the query where it stopped."""
        settings = self.settings
        session = spark_session(settings, "stream")
        source = (
            session.readStream.format("kafka")
            .option("kafka.bootstrap.servers", settings.kafka_servers)
            .option("subscribe", ",".join(STREAM_TOPICS))
            .option("startingOffsets", to_json(self._start))
            .option("maxOffsetsPerTrigger", settings.stream.max_offsets_per_trigger)
            .load()
        )
        self._query = (
            raw(source)
            .writeStream.foreachBatch(self._run_batch)
            .option("checkpointLocation", str(self._checkpoint))
            .trigger(processingTime="0 seconds")
            .queryName("firstmile-stream")
            .start()
        )
        return self._query

    def _run_batch(self, batch: DataFrame, batch_id: int) -> None:
        try:
            start = batch_offsets(self._checkpoint, batch_id - 1) or initial_offsets(self._checkpoint)
            end = batch_offsets(self._checkpoint, batch_id)
            timer = self.writer.timer
            timer.restart()
            self.writer.check(start)
            timer.lap("check")
            records = batch.toArrow()
            timer.lap("fetch")
            table = decoded(records, self._schemas, self._reading)
            timer.lap("decode")
            counts = self.writer.write(table, start=start, end=end)
        except FirstmileError as error:
            self.failure = error  # Spark would wrap it in a Java trace
            raise
        except redis.RedisError as error:
            self.failure = DependencyError(f"Redis does not answer: {error}; start the stream again when it does")
            raise self.failure from error
        self.metrics.count(counts, _dead_letters(table), timer)
        self._log(counts, table)

    def _log(self, counts: dict[str, int], table: Any) -> None:
        is_due = self.show is not None or time.monotonic() - self._logged_at >= LOG_INTERVAL_S
        if is_due and table.num_rows:
            self._logged_at = time.monotonic()
            newest = pc.max(table["received_us"]).as_py() or 0
            line = f"{describe(counts, newest)}; {self.writer.totals['n_records']} records since start"
            if self.show is not None:
                self.show(line)
            else:
                took = (self._query.lastProgress or {}).get("durationMs", {}) if self._query else {}
                log.info("%s; Spark's last batch, ms: %s", line, took)


def _dead_letters(table: Any) -> dict[str, int]:
    """Records of a batch by the reason nobody could use them."""
    found = table["reason"].drop_null().value_counts().to_pylist()
    return {row["values"]: row["counts"] for row in found if row["values"] != TOMBSTONE}


def run() -> None:
    """Run the stream until SIGTERM or Ctrl-C; a second start goes on where the first stopped."""
    settings = load_settings()
    stopping = on_stop_signals()
    stream = Stream(settings)
    query = stream.start()
    gc.freeze()  # what was imported lives as long as the process: looking through it again stops a batch for 0.1 s
    with _metrics(stream), progress_line("waiting for the first records") as stream.show:
        console.print(f"ready: stream of {', '.join(STREAM_TOPICS)} from {settings.kafka_servers}", soft_wrap=True)
        run_until(stopping, query, lambda: stream.failure, again=stream.query)
    log.info("stream stopped: %s, unknown names: %s", stream.writer.totals, stream.writer.unknown.counts)


@contextmanager
def _metrics(stream: Stream) -> Iterator[None]:
    """The stream's Prometheus endpoint, if a port is set."""
    settings = stream.settings.stream
    if not settings.metrics_port:
        yield
        return
    lag = StreamLag(stream.settings, stream.writer.client, stream.topics).start()
    stream.metrics.registry.register(Gauges(lag.read))
    registry = stream.metrics.registry
    stop = serve(registry, settings.metrics_host, settings.metrics_port, setting="FIRSTMILE_STREAM__METRICS_PORT")
    try:
        yield
    finally:
        stop()
        lag.stop()

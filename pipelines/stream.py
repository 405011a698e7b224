"""`firstmile stream`: Kafka ─► decode ─► clean ─► enrich ─► fold ─► online store, by Spark Structured Streaming.

Spark only reads, decodes and drives the batches; all state is in the rows.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from pyspark.sql import DataFrame
from pyspark.sql.streaming import StreamingQuery

from firstmile.broker import TopicInfo, describe_topics
from firstmile.cli import console
from firstmile.cores import usable_cores
from firstmile.errors import DependencyError, FirstmileError
from firstmile.metrics import serve
from firstmile.names import STREAM_TOPICS
from firstmile.progress_line import progress_line
from firstmile.settings import Settings, load_settings
from firstmile.stopping import on_stop_signals
from pipelines.batch import BatchWriter, describe
from pipelines.decode import raw
from pipelines.helper import Helper
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
from pipelines.share import Done, share_writer
from pipelines.spark import spark_session
from pipelines.stream_lag import StreamLag
from pipelines.topic_checks import require_topics
from pipelines.topics import ensure_topics

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 5.0
MAX_PROCESSES = 4
"""Unless the setting says more: each takes some 300 MB."""
_LARGE_POLLS = {"kafka.max.poll.records": "10000", "kafka.max.partition.fetch.bytes": "16777216"}
"""Spark asks Kafka for a partition's first and last offset after every poll, and a poll is of 500 records otherwise."""
_PLAIN_PLANS = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
"""The plan computes nothing, and its code would be generated anew for every batch and task: a tenth of a fetch."""


class Stream:
    """The running query and what its batches did."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.failure: FirstmileError | None = None
        self.topics: dict[str, TopicInfo] = {}
        self.writer: BatchWriter
        self.helpers: list[Helper] = []
        self.metrics = StreamMetrics()
        self.show: Callable[[str], None] | None = None
        self._checkpoint: Path
        self._start: dict[tuple[str, int], int] = {}
        self._query: StreamingQuery | None = None
        self._logged_at = 0.0

    def prepare(self) -> None:
        """Make ready what the query needs: topics, store, schemas, helpers, and where it begins."""
        settings = self.settings
        ensure_topics(settings)
        require_topics(settings)
        self.topics = describe_topics(settings, STREAM_TOPICS)
        topic_ids = {name: info.topic_id for name, info in self.topics.items()}
        self.helpers = [Helper(settings, topic_ids) for _ in range(self._n_processes() - 1)]
        self.writer = BatchWriter(share_writer(settings, topic_ids), self.helpers)
        client = self.writer.client
        self._checkpoint = checkpoint_folder(settings.checkpoints, self.topics)
        first = first_offsets(settings, self.topics)
        if (self._checkpoint / "offsets").exists():
            self._start = first  # Spark goes on where it was; `check` holds that against the progress records
        else:
            archived = Lake(settings.lake).partitions(topic_ids)
            self._start = starting_offsets(client, self.topics, first, archived=archived)

    def query(self) -> StreamingQuery:
        """Start the query, once prepared, where it stopped."""
        settings = self.settings
        session = spark_session(settings, "stream")
        for name, value in _PLAIN_PLANS.items():
            session.conf.set(name, value)
        source = (
            session.readStream.format("kafka")
            .option("kafka.bootstrap.servers", settings.kafka_servers)
            .options(**_LARGE_POLLS)
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
            done = self.writer.write(records, start=start, end=end)
        except FirstmileError as error:
            self.failure = error  # Spark would wrap it in a Java trace
            raise
        except redis.RedisError as error:
            self.failure = DependencyError(f"Redis does not answer: {error}; start the stream again when it does")
            raise self.failure from error
        self.metrics.count(done.counts, done.dead, timer)
        self._log(done)

    def _log(self, done: Done) -> None:
        is_due = self.show is not None or time.monotonic() - self._logged_at >= LOG_INTERVAL_S
        if is_due and done.counts["n_records"]:
            self._logged_at = time.monotonic()
            newest = max(done.newest_us.values(), default=0)
            line = f"{describe(done.counts, newest)}; {self.writer.totals['n_records']} records since start"
            if self.show is not None:
                self.show(line)
            else:
                took = (self._query.lastProgress or {}).get("durationMs", {}) if self._query else {}
                log.info("%s; Spark's last batch, ms: %s", line, took)

    def _n_processes(self) -> int:
        """Of Python, this one included: more than partitions or cores would have nothing to do."""
        n_partitions = max(info.n_partitions for info in self.topics.values())
        return self.settings.stream.processes or min(n_partitions, usable_cores(), MAX_PROCESSES)

    def close(self) -> None:
        """End the helpers."""
        for helper in self.helpers:
            helper.close()


def run() -> None:
    """Run the stream until SIGTERM or Ctrl-C; a second start goes on where the first stopped."""
    settings = load_settings()
    stopping = on_stop_signals()
    stream = Stream(settings)
    stream.prepare()
    with _metrics(stream), progress_line("waiting for the first records") as stream.show:
        query = stream.query()
        gc.freeze()  # what was imported lives as long as the process: looking through it again stops a batch for 0.1 s
        console.print(f"ready: stream of {', '.join(STREAM_TOPICS)} from {settings.kafka_servers}", soft_wrap=True)
        try:
            run_until(stopping, query, lambda: stream.failure, again=stream.query)
        finally:
            stream.close()
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

"""How far the stream is behind, per topic partition, for its own /metrics."""

from collections.abc import Iterator, Mapping

import redis

from feature_repo import progress
from feature_repo.lag import EndOffsets, lag_us
from firstmile.broker import TopicInfo, admin
from firstmile.clock import SystemClock
from firstmile.names import STREAM_TOPICS
from firstmile.settings import Settings
from pipelines.metrics import Reading, Sample

LABELS = ["topic", "partition"]


class StreamLag:
    """Watches the ends of the stream's topics; `read` holds the progress records against them."""

    def __init__(self, settings: Settings, client: "redis.Redis", topics: Mapping[str, TopicInfo]) -> None:
        self._client, self._clock = client, SystemClock()
        self._ends = EndOffsets(
            admin(settings),
            clock=self._clock,
            read_progress=lambda partitions: progress.read(client, partitions),
            n_partitions=max(info.n_partitions for info in topics.values()),
            topics=STREAM_TOPICS,
        )

    def start(self) -> "StreamLag":
        """Watch in a thread of its own."""
        self._ends.start()
        return self

    def stop(self) -> None:
        """Stop watching."""
        self._ends.stop()

    def read(self) -> Iterator[Reading]:
        """Gauges, as `metrics.Gauges` takes them; none while Redis is away."""
        ends = dict(self._ends.ends)
        try:
            records = progress.read(self._client, ends)
        except redis.RedisError:
            return
        now_us = self._clock.now_us()
        lags: list[Sample] = []
        unread: list[Sample] = []
        for partition, record in sorted(records.items()):
            caught_up_us = self._ends.caught_up_us.get(partition, 0)
            lag = lag_us(record, end_offset=ends[partition], caught_up_us=caught_up_us, now_us=now_us)
            labels = [partition[0], str(partition[1])]
            lags.append((labels, lag / 1e6))
            unread.append((labels, float(max(0, ends[partition] - record.next_offset))))
        yield "firstmile_stream_lag_seconds", "Age of the newest applied event while others wait", LABELS, lags
        yield "firstmile_stream_kafka_lag_records", "Records in Kafka that are not in the rows", LABELS, unread

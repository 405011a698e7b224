"""How far the archive is behind: the oldest enriched record that no manifest entry of the lake has read."""

import uuid
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from firstmile.broker import TopicInfo, consumer, describe_topics, kafka_must_answer
from firstmile.clock import SystemClock
from firstmile.errors import DependencyError
from firstmile.names import ENRICHED
from firstmile.settings import Settings
from pipelines.lake import Lake, read_key


@dataclass(frozen=True)
class ArchiveLag:
    """One partition of the enriched events.

    age_s
        Of the oldest record still to be archived; 0 when there is none.
    n_lost
        Records that Kafka deleted before the archive had read them.
    """

    partition: int
    n_behind: int
    age_s: float
    n_lost: int


def archive_lag(settings: Settings) -> list[ArchiveLag]:
    """By partition; empty when nothing was ever enriched. A lake that knows nothing is behind from the first record.

    Raises DependencyError when Kafka does not answer, DataError when a file of the lake is gone.
    """
    topic = describe_topics(settings, [ENRICHED]).get(ENRICHED)
    if topic is None:
        return []
    read_to = Lake(settings.lake).read_to()
    reader = consumer(settings, group=f"archive-lag-{uuid.uuid4()}", log_level=0)
    with closing(reader), kafka_must_answer(settings.kafka_servers):
        return [_lag(reader, topic, p, read_to, settings.kafka.timeout_s) for p in range(topic.n_partitions)]


def _lag(reader: Consumer, topic: TopicInfo, partition: int, read_to: dict[str, int], timeout_s: float) -> ArchiveLag:
    first, end = reader.get_watermark_offsets(TopicPartition(ENRICHED, partition), timeout=timeout_s)
    known = read_to.get(read_key(topic.topic_id, partition))
    start = max(first, first if known is None else known)
    n_lost = 0 if known is None else max(0, first - known)
    if start >= end:
        return ArchiveLag(partition, 0, 0.0, n_lost)
    reader.assign([TopicPartition(ENRICHED, partition, start)])
    message = reader.poll(timeout_s)
    if message is None or message.error():
        raise DependencyError(f"Kafka did not give record {start} of {ENRICHED}/{partition} within {timeout_s:g} s")
    age_s = max(0.0, SystemClock().now_us() / 1e6 - message.timestamp()[1] / 1e3)
    return ArchiveLag(partition, end - start, age_s, n_lost)

"""How far the stream is behind Kafka: its progress record in Redis beside the topics' ends."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import orjson
import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition
from redis.backoff import NoBackoff
from redis.retry import Retry

from firstmile.broker import consumer, kafka_must_answer
from firstmile.settings import Settings

PROGRESS_KEY = "firstmile:progress"
TIMEOUT_S = 3.0


@dataclass(frozen=True)
class PartitionLag:
    """`n_behind` records of a partition are not in the rows yet; `received_us` is of the newest that is."""

    topic: str
    partition: int
    next_offset: int
    end_offset: int
    n_behind: int
    received_us: int | None


def stream_lag(settings: Settings) -> list[PartitionLag] | None:
    """Lag per topic partition, by name; None when Redis or Kafka does not answer, empty before the first batch."""
    try:
        with redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            progress: dict[bytes, bytes] = client.hgetall(PROGRESS_KEY)
    except (redis.RedisError, OSError):
        return None
    reader = consumer(settings, group="firstmile-status", log_level=0)
    try:
        return [_lag(reader, field.decode(), orjson.loads(value)) for field, value in sorted(progress.items())]
    except KafkaException:
        return None
    finally:
        reader.close()


def end_offsets(settings: Settings, topics: Iterable[str]) -> dict[str, int]:
    """Records ever appended per topic. Raises DependencyError when Kafka does not answer."""
    reader = consumer(settings, group="firstmile-status", log_level=0)
    with closing(reader), kafka_must_answer(settings.kafka_servers):
        known = reader.list_topics(timeout=TIMEOUT_S).topics
        return {
            topic: sum(
                reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)[1]
                for partition in known[topic].partitions
            )
            for topic in topics
        }


def _lag(reader: Consumer, field: str, record: dict[str, int]) -> PartitionLag:
    topic, _, partition = field.rpartition(":")
    _, end = reader.get_watermark_offsets(TopicPartition(topic, int(partition)), timeout=TIMEOUT_S)
    n_behind = max(0, end - record["next_offset"])
    return PartitionLag(topic, int(partition), record["next_offset"], end, n_behind, record.get("received_us"))

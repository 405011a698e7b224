"""Dead letters as Kafka has them, each source position once, and which of them were sent again.

onboarding.dead-letters             what the stream could not use; a batch done again writes the same letter again
onboarding.dead-letters-replayed    compacted: per source position how it was sent again, last
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from firstmile.broker import consumer, describe_topics, kafka_must_answer
from firstmile.clock import to_us
from firstmile.errors import DataError, DependencyError
from firstmile.names import DEAD_LETTERS, REPLAYED
from firstmile.settings import Settings
from firstmile.wire import Record, RecordReader, Registry

BATCH = 1_000

Position = tuple[str, int, int]
"""Topic id, partition, offset of the input record."""


@dataclass(frozen=True)
class DeadLetter:
    """An input record nobody could use, whole."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    reason: str
    detail: str
    at_us: int
    key: bytes | None
    value: bytes | None

    @property
    def position(self) -> Position:
        """Where the input record lies; no other record ever has the same."""
        return self.topic_id, self.partition, self.offset


def dead_letters(settings: Settings) -> Iterator[DeadLetter]:
    """All dead letters that Kafka still has, each position once, in the order of their log by partition.

    Raises DataError when there is no such topic, DependencyError when Kafka or the registry is away.
    """
    seen: set[Position] = set()
    for record in _records(settings, DEAD_LETTERS):
        letter = _letter(record)
        if letter.position not in seen:
            seen.add(letter.position)
            yield letter


def replayed(settings: Settings) -> dict[Position, str]:
    """How each position was sent again: original or repaired."""
    return {_position(record): record["how"] for record in _records(settings, REPLAYED)}


def _letter(record: Record) -> DeadLetter:
    topic_id, partition, offset = _position(record)
    return DeadLetter(
        topic=record["source_topic"],
        topic_id=topic_id,
        partition=partition,
        offset=offset,
        reason=record["reason"],
        detail=record["detail"],
        at_us=to_us(record["at"]),
        key=record["key"],
        value=record["value"],
    )


def _position(record: Record) -> Position:
    return record["source_topic_id"], record["source_partition"], record["source_offset"]


def _records(settings: Settings, topic: str) -> Iterator[Record]:
    """Every record of a topic from its beginning to the end it has now."""
    info = describe_topics(settings, [topic]).get(topic)
    if info is None:
        raise DataError(f"Kafka at {settings.kafka_servers} has no topic {topic}; `firstmile topics` makes it")
    decoder = RecordReader(Registry(settings.registry_url, timeout_s=settings.registry.timeout_s))
    reader = consumer(settings, group=f"dead-letters-{uuid.uuid4()}", **{"enable.partition.eof": True})
    with closing(reader), kafka_must_answer(settings.kafka_servers):
        reader.assign([TopicPartition(topic, p, 0) for p in range(info.n_partitions)])
        left, deadline = set(range(info.n_partitions)), time.monotonic() + settings.kafka.timeout_s
        while left:
            messages = reader.consume(BATCH, timeout=0.5)
            if messages:
                deadline = time.monotonic() + settings.kafka.timeout_s
            elif time.monotonic() > deadline:
                raise DependencyError(
                    f"Kafka at {settings.kafka_servers} stopped giving {topic}: nothing in "
                    f"{settings.kafka.timeout_s:g} s, partitions {sorted(left)} unfinished; see `firstmile status`"
                )
            for message in messages:
                yield from _record(message, topic, left, decoder)


def _record(message: Any, topic: str, left: set[int], decoder: RecordReader) -> Iterator[Record]:
    """The message's record; a partition that ends is struck off `left`."""
    error = message.error()
    if error is None:
        yield decoder.decode(message.value())
    elif error.code() == KafkaError._PARTITION_EOF:
        left.discard(message.partition())
    else:
        raise DependencyError(f"reading {topic} failed: {error.str()}")

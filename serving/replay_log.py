"""One decision out of the decision log, by its request_id: the newest records are looked at first."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from firstmile.broker import consumer, describe_topics, kafka_must_answer
from firstmile.errors import DataError, DependencyError, WireError
from firstmile.names import DECISIONS
from firstmile.settings import Settings
from firstmile.wire import Record, RecordReader, Registry

WINDOW: Final = 20_000
"""Records of a partition read at a time, going back."""
BATCH: Final = 1_000

Span = tuple[int, int]


def find_decision(settings: Settings, request_id: str) -> Record:
    """The decision of a request.

    Raises DataError when the log does not hold it, DependencyError when Kafka or the registry does not answer.
    """
    topic = describe_topics(settings, [DECISIONS]).get(DECISIONS)
    if topic is None:
        raise DataError(f"Kafka at {settings.kafka_servers} has no topic {DECISIONS}; `firstmile topics` makes it")
    reader = RecordReader(Registry(settings.registry_url, timeout_s=settings.registry.timeout_s))
    client, n_read = consumer(settings, group="firstmile-replay"), 0
    with closing(client), kafka_must_answer(settings.kafka_servers):
        ends = {p: _ends(client, p, settings) for p in range(topic.n_partitions)}
        for spans in windows(ends):
            for value in _values(client, spans, settings):
                n_read += 1
                # An id stands in the bytes as it is: decoding every record would take twenty times as long.
                if request_id.encode() in value and (found := _decoded(reader, value))["request_id"] == request_id:
                    return found
    raise DataError(
        f"none of the {n_read} records of {DECISIONS} has the request_id {request_id}: it may be older than Kafka's "
        "retention, or still wait for Kafka on the disk of the worker that answered"
    )


def windows(ends: Mapping[int, Span]) -> Iterator[dict[int, Span]]:
    """Spans of offsets by partition, [first, end) each, from the newest WINDOW of all back to the first records.

    ends
        First offset and end by partition.

    >>> list(windows({0: (5, WINDOW + 7), 1: (0, 2)})) == [{0: (7, WINDOW + 7), 1: (0, 2)}, {0: (5, 7)}]
    True
    """
    left = dict(ends)
    while any(end > first for first, end in left.values()):
        spans = {p: (max(first, end - WINDOW), end) for p, (first, end) in left.items() if end > first}
        yield spans
        left = {p: (left[p][0], first) for p, (first, _) in spans.items()}


def _ends(client: Consumer, partition: int, settings: Settings) -> Span:
    where = TopicPartition(DECISIONS, partition)
    return tuple(client.get_watermark_offsets(where, timeout=settings.kafka.timeout_s))


def _values(client: Consumer, spans: Mapping[int, Span], settings: Settings) -> Iterator[bytes]:
    """The records of the spans."""
    left = dict(spans)
    client.assign([TopicPartition(DECISIONS, p, first) for p, (first, _) in spans.items()])
    while left:
        messages = client.consume(BATCH, timeout=settings.kafka.timeout_s)
        if not messages:
            raise DependencyError(
                f"Kafka at {settings.kafka_servers} stopped giving {DECISIONS}: nothing in {settings.kafka.timeout_s} s"
            )
        for message in messages:
            if message.error() is not None:
                raise DependencyError(f"reading {DECISIONS} failed: {message.error().str()}")
            partition, offset = message.partition(), message.offset()
            if partition not in left:
                continue
            if offset < left[partition][1]:
                yield message.value() or b""
            if offset >= left[partition][1] - 1:
                del left[partition]


def _decoded(reader: RecordReader, value: bytes) -> Record:
    try:
        return reader.decode(value)
    except WireError:
        return {"request_id": None}

"""Reading back from Kafka what a test produced: everything after the offsets noted before it."""

import time
import uuid

from confluent_kafka import TopicPartition

from firstmile.broker import consumer, describe_topics
from firstmile.settings import Settings
from firstmile.wire import Record, RecordReader, Registry

Offsets = dict[tuple[str, int], int]


def end_offsets(settings: Settings, topics: tuple[str, ...]) -> Offsets:
    """Where each partition ends now."""
    reader = consumer(settings, group=f"test-{uuid.uuid4()}")
    found = {}
    for topic, info in describe_topics(settings, topics).items():
        for partition in range(info.n_partitions):
            found[topic, partition] = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
    reader.close()
    return found


def records_since(settings: Settings, since: Offsets, *, deadline_s: float = 30.0) -> list[tuple[str, str, Record]]:
    """(topic, key, record) of everything between `since` and now, by partition in order."""
    until = end_offsets(settings, tuple({topic for topic, _ in since}))
    left = {p: until[p] - since[p] for p in since if until[p] > since[p]}
    decoder = RecordReader(Registry(settings.registry_url))
    reader = consumer(settings, group=f"test-{uuid.uuid4()}")
    reader.assign([TopicPartition(topic, partition, since[topic, partition]) for topic, partition in left])
    found, end = [], time.monotonic() + deadline_s
    while any(n > 0 for n in left.values()):
        assert time.monotonic() < end, f"still missing {left}"
        for message in reader.consume(1000, timeout=0.5):
            assert message.error() is None, message.error()
            left[message.topic(), message.partition()] -= 1
            found.append((message.topic(), message.key().decode(), decoder.decode(message.value())))
    reader.close()
    return found

"""Kafka clients as everyone here uses them: one partitioner, acknowledged writes, clear errors."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from firstmile.errors import DependencyError
from firstmile.settings import Settings

# Java's partitioner: a user's partition can be computed the same way in every language.
PARTITIONER = "murmur2_random"
MAX_MESSAGE_BYTES = 33_554_432
"""Before compression. A topic's own limit is what counts; below it the client would stop dead letters that fit."""


@dataclass
class AcknowledgedProducer:
    """A producer that knows which records Kafka has refused.

    `send` and `send_all` queue; `flush` waits for all acknowledgements and raises DependencyError if any record failed.

    n_sent
        Queued by topic, without those refused: all acknowledged after `flush`.
    """

    producer: Producer
    servers: str
    timeout_s: float
    n_sent: dict[str, int] = field(default_factory=dict)
    _failures: list[str] = field(default_factory=list)

    def send(self, topic: str, *, key: str | bytes | None, value: bytes | None) -> None:
        """Queue one record; blocks while the local queue is full."""
        while True:
            try:
                self.producer.produce(topic, value=value, key=key, on_delivery=self._delivered)
                break
            except BufferError:
                self.producer.poll(0.05)
        self.producer.poll(0)
        self.n_sent[topic] = self.n_sent.get(topic, 0) + 1

    def send_all(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Queue many records, (key, value) each; blocks while the local queue is full."""
        left = [{"key": key, "value": value} for key, value in records]
        self.n_sent[topic] = self.n_sent.get(topic, 0) + len(left)
        while left:
            self.producer.produce_batch(topic, left, on_delivery=self._delivered)
            left = [message for message in left if "_error" in message]
            for message in left:
                self._require_full(topic, message.pop("_error"))
            if left:
                self.producer.poll(0.05)

    def flush(self) -> None:
        """Wait until Kafka has all; raises DependencyError naming the first failure."""
        left = self.producer.flush(self.timeout_s)
        failures, self._failures = self._failures, []
        if failures or left:
            first = failures[0] if failures else f"no answer within {self.timeout_s} s"
            raise DependencyError(f"Kafka at {self.servers} did not take {len(failures) + left} records: {first}")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            topic = message.topic() or "?"
            self.n_sent[topic] -= 1
            self._failures.append(f"{topic}: {error.str()}")

    def _require_full(self, topic: str, error: KafkaError) -> None:
        """Raise DependencyError for a record that was not queued for another reason than a full queue."""
        if error.code() != KafkaError._QUEUE_FULL:
            raise DependencyError(f"a record for {topic} was not queued: {error.str()}")


def producer(settings: Settings, **overrides: Any) -> AcknowledgedProducer:
    """An idempotent producer with acks=all. It reports failed records only, unless `overrides` say otherwise."""
    config = {
        "bootstrap.servers": settings.kafka_servers,
        "partitioner": PARTITIONER,
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 5,
        "delivery.timeout.ms": int(settings.kafka.timeout_s * 1000),
        "queue.buffering.max.messages": 200_000,
        "delivery.report.only.error": True,  # a call into Python for each record costs as much as sending it
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "log_level": 2,  # a failed connection is raised by `flush`, not written 20 times a second
        **overrides,
    }
    return AcknowledgedProducer(Producer(config), settings.kafka_servers, settings.kafka.timeout_s + 5)


def consumer(settings: Settings, *, group: str, **overrides: Any) -> Consumer:
    """A consumer that starts at the beginning and commits only when told."""
    return Consumer(
        {
            "bootstrap.servers": settings.kafka_servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 3,
            **overrides,
        }
    )


def admin(settings: Settings) -> AdminClient:
    """An administration client."""
    return AdminClient({"bootstrap.servers": settings.kafka_servers, "log_level": 2})


@contextmanager
def kafka_must_answer(servers: str) -> Iterator[None]:
    """Within it, what a Kafka client raises becomes a DependencyError that names the servers."""
    try:
        yield
    except KafkaException as error:
        raise DependencyError(f"Kafka at {servers}: {error.args[0].str()}") from error


@dataclass(frozen=True)
class TopicInfo:
    """What the broker says of a topic."""

    topic: str
    topic_id: str
    n_partitions: int
    replication: int = 1


def describe_topics(settings: Settings, topics: Iterable[str]) -> dict[str, TopicInfo]:
    """Id and partition count by topic; topics that do not exist are left out.

    Raises DependencyError when the broker does not answer.
    """
    client = admin(settings)  # named: the futures fail once their client is collected
    futures = client.describe_topics(TopicCollection(list(topics)), request_timeout=settings.kafka.timeout_s)
    found = {}
    for topic, future in futures.items():
        error = future.exception()
        if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            continue
        with kafka_must_answer(settings.kafka_servers):
            description = future.result()
        replication = len(description.partitions[0].replicas)
        found[topic] = TopicInfo(topic, str(description.topic_id), len(description.partitions), replication)
    return found

"""The decision log and the enriched events as the learner reads them: by hand, from where its state says, in batches.

The group's name is for Kafka's own logs: partitions are assigned, nothing is committed. Partitions added to a topic
are read from the next start on.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from firstmile.broker import consumer, describe_topics, kafka_must_answer
from firstmile.clock import Clock
from firstmile.errors import DataError, DependencyError, WireError
from firstmile.local.lag import stream_lag
from firstmile.names import ENRICHED
from firstmile.settings import Settings
from firstmile.wire import RecordReader, Registry
from training.online_clock import Partition
from training.online_facts import TOPICS, take
from training.online_state import Batch, State

log = logging.getLogger(__name__)

BATCH: Final = 1_000
POLL_S: Final = 0.5
LOOK_S: Final = 5.0
"""How often it is asked whether partitions were read to their end."""
GROUP: Final = "firstmile-learn"


class KafkaLog:
    """Reads both topics."""

    def __init__(self, settings: Settings, features: Sequence[str], clock: Clock) -> None:
        self._settings, self._features, self._clock = settings, features, clock
        registry = Registry(settings.registry_url, timeout_s=settings.registry.timeout_s)
        for topic in TOPICS:
            registry.latest(topic)
        self._reader = RecordReader(registry)
        self._is_away = False
        self._looked_at = 0.0
        self._next: dict[Partition, int] = {}
        self._consumer: Consumer = consumer(settings, group=GROUP, log_level=0, error_cb=self._on_error)

    def start(self, state: State) -> None:
        """Go on where the state stands; partitions it does not know, or of a topic made anew, from their beginning.

        Raises DataError when a topic is missing, DependencyError when Kafka does not answer.
        """
        found = describe_topics(self._settings, TOPICS)
        missing = [topic for topic in TOPICS if topic not in found]
        if missing:
            servers, names = self._settings.kafka_servers, ", ".join(missing)
            raise DataError(f"Kafka at {servers} has no topic {names}; `firstmile topics` makes it")
        partitions = [(topic, p) for topic, info in found.items() for p in range(info.n_partitions)]
        for partition in partitions:
            is_known = state.topic_ids.get(partition[0]) == found[partition[0]].topic_id
            self._next[partition] = self._start_of(partition, state, is_known=is_known)
        state.offsets = dict(self._next)
        state.topic_ids = {topic: info.topic_id for topic, info in found.items()}
        state.clocks.follow(partitions)
        self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in self._next.items()])

    def read(self) -> Batch:
        """What came within half a second; empty when nothing did, also while Kafka is away.

        Raises DependencyError when the registry is away, or Kafka refuses.
        """
        batch, now_us = Batch(), self._clock.now_us()
        for message in self._consumer.consume(BATCH, timeout=POLL_S):
            self._take(message, batch, now_us)
        if time.monotonic() - self._looked_at >= LOOK_S:
            self._look_at_ends(batch)
            self._looked_at = time.monotonic()
        batch.offsets = dict(self._next)
        return batch

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()

    def _take(self, message: Any, batch: Batch, now_us: int) -> None:
        error = message.error()
        if error is not None:
            raise DependencyError(f"Kafka at {self._settings.kafka_servers}: reading {TOPICS} failed: {error.str()}")
        self._is_away = False
        partition = (message.topic(), message.partition())
        self._next[partition] = message.offset() + 1
        try:
            record = self._reader.decode(message.value() or b"")
            take(record, partition, batch, features=self._features, now_us=now_us)
        except (WireError, KeyError) as unfit:
            log.warning("%s/%s, offset %s is left out: %s", *partition, message.offset(), unfit)
            batch.counts["n_unreadable"] += 1

    def _look_at_ends(self, batch: Batch) -> None:
        """A partition read to its end has been read up to now, if nothing waits before the stream."""
        asked_us = self._clock.now_us()
        lags = stream_lag(self._settings)  # before the ends are asked for: what it had written by now is below them
        is_stream_done = bool(lags) and all(lag.n_behind == 0 for lag in lags or ())
        try:
            for partition, offset in self._next.items():
                if partition[0] == ENRICHED and not is_stream_done:
                    continue
                _, end = self._consumer.get_watermark_offsets(
                    TopicPartition(*partition), self._settings.kafka.timeout_s
                )
                if offset >= end:
                    batch.clocks[partition] = asked_us
        except KafkaException as error:
            self._troubled(error.args[0])

    def _start_of(self, partition: Partition, state: State, *, is_known: bool) -> int:
        with kafka_must_answer(self._settings.kafka_servers):
            first, _ = self._consumer.get_watermark_offsets(TopicPartition(*partition), self._settings.kafka.timeout_s)
        saved = state.offsets.get(partition)
        if saved is None or not is_known:
            if saved is not None:
                log.warning("topic %s was made anew: starting at its beginning", partition[0])
            return int(first)
        if saved < first:
            log.warning("Kafka has deleted %s records of %s/%s before they were read", first - saved, *partition)
            state.counts["n_lost"] += first - saved
        return max(saved, int(first))

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._troubled(error)

    def _troubled(self, error: KafkaError) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("Kafka at %s does not answer, the learner waits: %s", self._settings.kafka_servers, error.str())

"""Pipeline lag of a user's partitions: how old the newest applied event is while records wait unread, else 0."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import redis
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from feature_repo.partitions import PartitionCounts
from feature_repo.progress import Partition, Progress
from firstmile.clock import Clock
from firstmile.names import EVENT_TOPICS

log = logging.getLogger(__name__)


def lag_us(record: Progress, *, end_offset: int | None, caught_up_us: int, now_us: int) -> int:
    """Lag of one partition, µs ≥ 0.

    end_offset
        Offset the next record will get; None = not known, then nothing is taken to be waiting.
    caught_up_us
        When the partition was last seen with nothing waiting, 0 = never: after an idle hour a new record does not
        make the hour count.
    """
    if end_offset is None or end_offset <= record.next_offset:
        return 0
    return max(0, now_us - max(record.received_us, caught_up_us))


class EndOffsets:
    """Watches how many partitions topics have, where those end, and when each was last seen read to its end.

    n_partitions
        Of each topic, to go by while neither Kafka nor `n_recorded` has said how many there are.
    n_recorded
        How many the progress records know of, 0 = none: asked while Kafka has never answered.
    """

    def __init__(
        self,
        client: AdminClient,
        *,
        clock: Clock,
        read_progress: Callable[[Iterable[Partition]], Mapping[Partition, Progress]],
        n_partitions: int,
        n_recorded: Callable[[], int] = lambda: 0,
        interval_s: float = 1.0,
        topics: Sequence[str] = EVENT_TOPICS,
    ) -> None:
        self.counts = PartitionCounts(n_partitions)
        self.ends: dict[Partition, int] = {}
        self.caught_up_us: dict[Partition, int] = {}
        self._seen_us: dict[Partition, int] = {}
        self._client, self._clock, self._topics = client, clock, topics
        self._read_progress, self._n_recorded = read_progress, n_recorded
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="end-offsets", daemon=True)

    def start(self) -> "EndOffsets":
        """Watch in a thread of its own."""
        self._thread.start()
        return self

    def is_alive(self) -> bool:
        """Whether the ends are still watched: lag stands still when they are not."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(timeout=5)

    def look(self, timeout_s: float = 2.0) -> None:
        """Look once. Raises KafkaException or redis errors when either is away."""
        if not self.counts.is_known:
            self._guess()
        now_us = self._clock.now_us()
        counts = self._count(timeout_s)
        if counts:
            self.counts.saw(set(counts.values()), now_us=now_us)
        partitions = [(topic, number) for topic, n in counts.items() for number in range(n)]
        wanted = {TopicPartition(topic, number): OffsetSpec.latest() for topic, number in partitions}
        futures = self._client.list_offsets(wanted, request_timeout=timeout_s) if wanted else {}
        self.ends = {(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}
        records = self._read_progress(partitions)
        for partition, end in self.ends.items():
            self._seen_us.setdefault(partition, now_us)
            if end <= (records[partition].next_offset if partition in records else 0):
                self.caught_up_us[partition] = now_us
        if counts:
            self.counts.settle(self.ends, records, now_us=now_us)

    def unbegun_us(self, number: int, now_us: int) -> int:
        """Lag of partitions of this number that the stream has no record of, µs ≥ 0: since they were first seen."""
        waiting = [p for topic in self._topics if self.ends.get(p := (topic, number))]
        return max(
            (now_us - max(self._seen_us.get(p, now_us), self.caught_up_us.get(p, 0)) for p in waiting), default=0
        )

    def _guess(self) -> None:
        try:
            n_recorded = self._n_recorded()
        except redis.RedisError:
            return
        if n_recorded:
            self.counts.guess(n_recorded)

    def _count(self, timeout_s: float) -> dict[str, int]:
        """Partitions by topic, of those that Kafka has."""
        counts = {}
        described = self._client.describe_topics(TopicCollection([*self._topics]), request_timeout=timeout_s)
        for topic, future in described.items():
            try:
                counts[topic] = len(future.result().partitions)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        return counts

    def _watch(self) -> None:
        said = ""
        while not self._stop.is_set():
            try:
                self.look()
                said = ""
            except (KafkaException, redis.RedisError):
                pass  # the last known ends stand until both answer again
            except Exception as error:  # the thread's edge: a look that fails must not be the last one
                if said != repr(error):
                    log.exception("looking where topics end failed; the last known ends stand")
                said = repr(error)
            self._stop.wait(self._interval_s)

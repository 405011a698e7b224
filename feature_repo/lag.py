"""Pipeline lag of a user's partitions: how old the newest applied event is while records wait unread, else 0."""

import logging
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from feature_repo.progress import Partition, Progress
from firstmile.clock import Clock
from firstmile.names import EVENT_TOPICS

log = logging.getLogger(__name__)
_MASK = 0xFFFFFFFF


def partition_of(key: bytes, n_partitions: int) -> int:
    """Partition of a record's key, as Java's producer and ours choose it.

    Source: Apache Kafka, BuiltInPartitioner (murmur2, seed 0x9747b28c).

    >>> partition_of(b"u17", 1)
    0
    """
    return (_murmur2(key) & 0x7FFFFFFF) % n_partitions


def _murmur2(data: bytes) -> int:
    m = 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & _MASK
    whole = len(data) // 4 * 4
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = (k * m) & _MASK
        k = ((k ^ (k >> 24)) * m) & _MASK
        h = ((h * m) & _MASK) ^ k
    tail = data[whole:]
    if tail:
        h = ((h ^ int.from_bytes(tail, "little")) * m) & _MASK
    h = ((h ^ (h >> 13)) * m) & _MASK
    return h ^ (h >> 15)


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
    """Watches the ends of topics and when each partition was last seen read to its end."""

    def __init__(
        self,
        client: AdminClient,
        *,
        n_partitions: int,
        clock: Clock,
        read_progress: Callable[[Iterable[Partition]], Mapping[Partition, Progress]],
        interval_s: float = 1.0,
        topics: Sequence[str] = EVENT_TOPICS,
    ) -> None:
        self.n_partitions = n_partitions
        self.ends: dict[Partition, int] = {}
        self.caught_up_us: dict[Partition, int] = {}
        self._client, self._clock, self._read_progress = client, clock, read_progress
        self._interval_s = interval_s
        self._partitions = [(topic, p) for topic in topics for p in range(n_partitions)]
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
        now_us = self._clock.now_us()
        wanted = {TopicPartition(t, p): OffsetSpec.latest() for t, p in self._partitions}
        futures = self._client.list_offsets(wanted, request_timeout=timeout_s)
        self.ends = {(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}
        for partition, record in self._read_progress(self._partitions).items():
            if self.ends.get(partition, 0) <= record.next_offset:
                self.caught_up_us[partition] = now_us

    def _watch(self) -> None:
        import redis

        said = ""
        while not self._stop.wait(self._interval_s):
            try:
                self.look()
            except (KafkaException, redis.RedisError):
                continue  # the last known ends stand until both answer again
            except Exception as error:  # the thread's edge: a look that fails must not be the last one
                if said != repr(error):
                    log.exception("looking where topics end failed; the last known ends stand")
                said = repr(error)
            else:
                said = ""

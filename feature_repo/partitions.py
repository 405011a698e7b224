"""Which partitions a user's events lie in: by the count Kafka has now, and for a while by the one before it grew."""

import struct
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from feature_repo.progress import Partition, Progress

PRODUCERS_LEARN_US: Final = 300_000_000
"""A producer asks for the count this often unless told otherwise (Java's `metadata.max.age.ms`, librdkafka's
`topic.metadata.refresh.interval.ms`); until then it writes by the count before."""
_MASK = 0xFFFFFFFF


def partition_of(key: bytes, n_partitions: int) -> int:
    """Partition of a record's key, as Java's producer and ours choose it.

    Source: Apache Kafka, BuiltInPartitioner (murmur2, seed 0x9747b28c).

    >>> partition_of(b"u17", 1)
    0
    """
    return partitions_of(key, (n_partitions,))[0]


def partitions_of(key: bytes, counts: Sequence[int]) -> tuple[int, ...]:
    """Partition of a record's key by each count of partitions.

    >>> partitions_of(b"u17", (12, 2)) == (partition_of(b"u17", 12), partition_of(b"u17", 2))
    True
    """
    at = _murmur2(key) & 0x7FFFFFFF
    return tuple([at % n for n in counts])


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


@dataclass
class _Former:
    """A count of before.

    since_us
        When it was first known to be of before.
    due
        Where its partitions ended once no producer went by it any more; None until then.
    """

    since_us: int
    due: Mapping[Partition, int] | None = None


class PartitionCounts:
    """The counts users are looked for by, `in_use`: one, and more of them for a while after topics grew.

    A user of a topic that grows lies in another partition from then on. What was written before, and by producers that
    have not noticed, waits in the old one. The row lacks it just as much, so the user's lag is the greater of the two.
    All partitions together would be simpler and wrong for most: one that hangs would make everybody late.

    A former count is forgotten when producers have had time to learn the new one and the stream has read all that lay
    in the former's partitions then. It is also known by the progress records: the stream has none of the new partitions
    until its next batch. So a worker that starts after the growth overlooks no more than what still waits in old
    partitions of a stream that already reads the new ones.

    n_partitions
        To go by until `guess` or `saw` says more.
    """

    def __init__(self, n_partitions: int) -> None:
        self.in_use: tuple[int, ...] = (n_partitions,)
        self.is_known = False
        self._now: Set[int] = frozenset()
        self._former: dict[int, _Former] = {}

    def guess(self, n_partitions: int) -> None:
        """Go by this count, unless Kafka ever said one."""
        if not self.is_known:
            self.in_use = (n_partitions,)

    def saw(self, counts: Set[int], *, now_us: int) -> None:
        """Take what Kafka says now: one count, or several while somebody is adding partitions topic by topic."""
        if self.is_known:
            for n in self._now - counts:
                self._former.setdefault(n, _Former(now_us))
        self.is_known, self._now = True, frozenset(counts)
        self._use()

    def settle(self, ends: Mapping[Partition, int], records: Mapping[Partition, Progress], *, now_us: int) -> None:
        """Take up and forget former counts by what the stream has read."""
        n_recorded = max((number + 1 for _, number in records), default=0)
        if n_recorded:
            self._former.setdefault(n_recorded, _Former(now_us))
        for n, former in list(self._former.items()):
            if n == n_recorded or now_us - former.since_us < PRODUCERS_LEARN_US:
                continue
            if former.due is None:
                former.due = {partition: end for partition, end in ends.items() if end and partition[1] < n}
            if all(p in records and records[p].next_offset >= end for p, end in former.due.items()):
                del self._former[n]
        self._use()

    def _use(self) -> None:
        """Former counts are smaller ones: of a topic made anew with fewer partitions, the old ones are gone."""
        newest = max(self._now)
        self._former = {n: former for n, former in self._former.items() if n < newest and n not in self._now}
        self.in_use = tuple(sorted({*self._now, *self._former}, reverse=True))

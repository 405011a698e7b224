"""Records to Kafka: history as fast as it goes, today's events at the pace of a clock."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa

from examples.oulad.events.records import event_records
from examples.oulad.tables.tables import IntArray
from firstmile.broker import AcknowledgedProducer
from firstmile.clock import MICROS_PER_S, Clock
from firstmile.names import PROFILES
from firstmile.wire import Record, RecordWriter

# A broker that dies is noticed after so many records; waiting for it this often costs under 1 % of the time.
CHUNK = 50_000

# Ctrl-C is heard between two waits.
MAX_WAIT_S = 0.5

Told = Callable[[int], None]
"""Is told how many more records were sent."""


@dataclass
class Player:
    """Where records go, and when now is."""

    out: AcknowledgedProducer
    writers: Mapping[str, RecordWriter]
    clock: Clock
    wait: Callable[[float], object] | None = None
    """Waits so many seconds, or less; None: serves the producer meanwhile."""
    told: Told = field(default=lambda n: None)

    def at_once(self, records: Iterable[tuple[str, Record]]) -> None:
        """Send all and wait until Kafka has them. Raises DependencyError when it does not take one."""
        stream = iter(records)
        while n := self._send(islice(stream, CHUNK)):
            self.out.flush()
            self.told(n)

    def paced(self, events: pa.Table, minutes: float) -> None:
        """Send the events spread over so many minutes, in proportion to when they were received, stamped when sent.

        Raises DependencyError when Kafka does not take one.
        """
        begin_us = self.clock.now_us()
        due_us = begin_us + spread_us(events["received_us"].to_numpy(), round(minutes * 60 * MICROS_PER_S))
        wait = self.wait or self.out.producer.poll
        for (topic, record), due in zip(event_records(events), due_us.tolist(), strict=True):
            while (now_us := self.clock.now_us()) < due:
                wait(min((due - now_us) / MICROS_PER_S, MAX_WAIT_S))
            self._send([(topic, {**record, "event_time": now_us, "received_at": now_us})])
            self.told(1)
        self.out.flush()

    def _send(self, records: Iterable[tuple[str, Record]]) -> int:
        n = 0
        for topic, record in records:
            self.out.send(topic, key=record["user_id"], value=self.writers[topic].encode(record))
            n += 1
        return n


def spread_us(times_us: IntArray, length_us: int) -> IntArray:
    """Sorted times moved and scaled so that the first is 0 and the last `length_us`.

    >>> spread_us(np.array([10, 20, 60]), 100).tolist()
    [0, 20, 100]
    """
    if not len(times_us):
        return times_us
    since = times_us - times_us[0]
    spread: IntArray = (since * (length_us / max(int(since[-1]), 1))).astype(np.int64)
    return spread


def profile_stream(records: Iterable[Record], *, now_us: int) -> Iterator[tuple[str, Record]]:
    """(topic, record) of profiles, none known later than now: a live replay tells today's before today's events."""
    for record in records:
        times = {name: min(record[name], now_us) for name in ("updated_at", "received_at")}
        yield PROFILES, {**record, **times}

"""Decisions on their way: straight to Kafka while it takes them, over the spool while it does not. At least once.

    take ─► in flight ─► acknowledged
              │ not within SPOOL_S                     segment dropped
              └───► spool ─► oldest segment ─► in flight ─► acknowledged ─┘

A kill loses what was neither acknowledged nor written: what is younger than two SPOOL_S and a poll.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from prometheus_client import Counter, Gauge

from firstmile.errors import DependencyError, WireError
from firstmile.wire import Record
from serving.kafka_sink import Outcome, Sink
from serving.spool import Segment, Spool, read_segment

log = logging.getLogger(__name__)

SPOOL_S: Final = 0.3
"""How long Kafka may take to acknowledge before a decision is written to disk, and the time between two writes."""
RETRY_S: Final = 1.0
MAX_IN_FLIGHT: Final = 1_000
MAX_AT_ONCE: Final = 20
"""Records of the spool sent in one step: encoding them holds the interpreter, and requests wait for it meanwhile."""


class Loggable(Protocol):
    """Something that goes into a log."""

    def record(self, *, worker: str, sequence: int) -> Mapping[str, Any]:
        """Its record, of whoever numbered it; `user_id` is the key, `request_id` unique."""
        ...


class LogMetrics(Protocol):
    """What is counted of a log."""

    log_sent: Counter
    log_dropped: Counter
    log_queue: Gauge


@dataclass
class _Flight:
    record: Mapping[str, Any]
    since_s: float
    is_on_disk: bool


class Outbox:
    """Hands records on. Used from one thread; times are seconds of any one monotonic clock.

    connect
        Gives the sink, None while it is not open yet; it must not wait, or nothing reaches the disk meanwhile.
    max_waiting
        Records kept in memory while the disk does not take them either; more: the oldest are dropped.
    """

    def __init__(
        self, connect: Callable[[], Sink | None], spool: Spool, *, max_waiting: int, metrics: LogMetrics
    ) -> None:
        self._connect = connect
        self._spool = spool
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._sink: Sink | None = None
        self._retry_s = self._written_s = 0.0
        self._flying: dict[str, _Flight] = {}
        self._unwritten: deque[Mapping[str, Any]] = deque()
        self._segment: Segment | None = None
        self._left: dict[str, Record] = {}
        self._unsent: deque[str] = deque()
        self._arrived: set[str] = set()
        self._said: str | None = None

    @property
    def n_waiting(self) -> int:
        """Records that Kafka has not acknowledged, those on disk among them."""
        n_in_memory = len(self._unwritten) + sum(not flight.is_on_disk for flight in self._flying.values())
        return n_in_memory + len(self._left) + self._spool.n_records - len(self._arrived)

    def is_busy(self, *, now_s: float) -> bool:
        """Whether the next step has something of the spool to send."""
        has_more = bool(self._unsent) or (self._segment is None and not self._spool.is_empty)
        return has_more and self._sink is not None and now_s >= self._retry_s and len(self._flying) < MAX_IN_FLIGHT

    def open(self) -> None:
        """Take over what killed workers left; without a disk go on in memory."""
        try:
            self._drop("spool_full", self._spool.open())
        except OSError as error:
            log.error("no spool for decisions at %s: %s; they wait in memory", self._spool.folder, error)

    def take(self, record: Mapping[str, Any], *, now_s: float) -> None:
        """Send one record, or keep it for the next step."""
        if self._unwritten or not self._flows(now_s) or not self._send(record, now_s=now_s, is_on_disk=False):
            self._unwritten.append(record)

    def step(self, *, now_s: float) -> None:
        """Notice what arrived, write what must not wait longer, send what waits."""
        if self._sink is not None:
            self._sink.poll()
        while self._unwritten and self._flows(now_s):
            if not self._send(self._unwritten[0], now_s=now_s, is_on_disk=False):
                break
            self._unwritten.popleft()
        if now_s - self._written_s >= SPOOL_S:
            self._write(overdue_s=now_s - SPOOL_S)
            self._written_s = now_s
        self._drain(now_s)

    def close(self, *, timeout_s: float) -> None:
        """Wait a moment for Kafka; what it has not taken then is for the next worker."""
        if self._sink is not None:
            self._sink.flush(timeout_s)
        self._write(overdue_s=float("inf"))
        self._drop("stopped", len(self._unwritten) + sum(not flight.is_on_disk for flight in self._flying.values()))
        self._spool.close()

    def _flows(self, now_s: float) -> bool:
        """Whether records go straight to Kafka: nothing older waits, and what is in flight is young."""
        oldest = next(iter(self._flying.values()), None)
        is_young = oldest is None or now_s - oldest.since_s < SPOOL_S
        return is_young and self._segment is None and self._spool.is_empty and len(self._flying) < MAX_IN_FLIGHT

    def _send(self, record: Mapping[str, Any], *, now_s: float, is_on_disk: bool) -> bool:
        """Whether it is in flight, or need not be; else try again later."""
        if now_s < self._retry_s:
            return False
        request_id = record["request_id"]
        try:
            self._sink = self._sink or self._connect()
            if self._sink is None:
                return False
            self._flying[request_id] = _Flight(record, now_s, is_on_disk)
            self._sink.send(record["user_id"], record, partial(self._done, request_id, now_s))
        except WireError as error:
            log.error("a decision is not logged: %s", error)
            self._done(request_id, now_s, "unfit")
        except DependencyError as error:
            if self._said != str(error):
                log.warning("decisions wait: %s", error)
            self._said = str(error)
            self._flying.pop(request_id, None)
            self._give_up(now_s)
            return False
        return True

    def _give_up(self, now_s: float) -> None:
        """Connect anew after a while: this sink will say no more of what is in flight."""
        self._sink, self._retry_s = None, now_s + RETRY_S
        for request_id in list(self._flying):
            self._done(request_id, now_s, "failed")

    def _done(self, request_id: str, sent_s: float, outcome: Outcome) -> None:
        flight = self._flying.pop(request_id, None)
        if flight is None:
            return
        if outcome == "failed":
            self._retry_s = max(self._retry_s, sent_s + RETRY_S)
            if request_id in self._left:
                self._unsent.append(request_id)
            elif not flight.is_on_disk:
                self._unwritten.append(flight.record)
            return
        if outcome == "sent":
            self._said = None
            self._metrics.log_sent.inc()
        else:
            self._drop("unfit", 1)
        if self._left.pop(request_id, None) is None and flight.is_on_disk:
            self._arrived.add(request_id)

    def _write(self, *, overdue_s: float) -> None:
        overdue = [f for f in self._flying.values() if not f.is_on_disk and f.since_s <= overdue_s]
        records = [*(f.record for f in overdue), *self._unwritten]
        if not records:
            return
        try:
            self._drop("spool_full", self._spool.append(records))
        except OSError as error:
            if self._said != str(error):
                log.error("decisions wait in memory, %s does not take them: %s", self._spool.folder, error)
            self._said = str(error)
            while len(self._unwritten) > self._max_waiting:
                self._unwritten.popleft()
                self._drop("spool_failed", 1)
            return
        self._unwritten.clear()
        for flight in overdue:
            flight.is_on_disk = True

    def _drain(self, now_s: float) -> None:
        if self._segment is None:
            self._begin(self._spool.take())
        for _ in range(min(MAX_AT_ONCE, len(self._unsent), MAX_IN_FLIGHT - len(self._flying))):
            request_id = self._unsent[0]
            if request_id in self._left and not self._send(self._left[request_id], now_s=now_s, is_on_disk=True):
                return
            self._unsent.popleft()
        if self._segment is not None and not self._left:
            self._spool.drop(self._segment)
            self._segment = None

    def _begin(self, segment: Segment | None) -> None:
        """Send a segment, but for what of it has arrived since, and what is in flight still."""
        if segment is None:
            self._arrived.clear()
            return
        try:
            records = read_segment(segment)
        except OSError as error:
            log.error("%s decisions cannot be read again from %s: %s", segment.n_records, segment.path, error)
            self._drop("spool_failed", segment.n_records)
            records = []
        else:
            self._drop("damaged", max(segment.n_records - len(records), 0))
        self._segment = segment
        self._left = {r["request_id"]: r for r in records if r["request_id"] not in self._arrived}
        self._arrived -= {r["request_id"] for r in records}
        self._unsent = deque(request_id for request_id in self._left if request_id not in self._flying)

    def _drop(self, why: str, n: int) -> None:
        self._metrics.log_dropped.labels(why).inc(n)

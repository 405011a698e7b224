"""Decision logs without Kafka: a sink into a list, spools in a folder, records as short as they may be."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firstmile.clock import to_datetime
from serving.decisions import DecisionLog
from serving.kafka_sink import OnDone, Sink
from serving.metrics import Metrics
from serving.outbox import LogMetrics
from serving.spool import Spool

NOW_US = 1_790_000_000_000_000


@dataclass
class ListSink:
    """Takes into a list, or raises the next trouble; away, it keeps what it is given until it is back."""

    taken: list[Mapping[str, Any]] = field(default_factory=list)
    trouble: list[Exception] = field(default_factory=list)
    is_away: bool = False
    held: list[tuple[Mapping[str, Any], OnDone]] = field(default_factory=list)

    def send(self, key: str, record: Mapping[str, Any], on_done: OnDone) -> None:
        """Take, or raise the next trouble."""
        if self.trouble:
            raise self.trouble.pop(0)
        assert key == record["user_id"]
        self.held.append((record, on_done))

    def poll(self) -> None:
        """Everything arrives at once, unless away."""
        while self.held and not self.is_away:
            record, on_done = self.held.pop(0)
            self.taken.append(record)
            on_done("sent")

    def flush(self, timeout_s: float) -> None:
        """What a poll would."""
        self.poll()

    def give_back(self) -> None:
        """As Kafka's client does with what it could not deliver in its time."""
        given, self.held = self.held, []
        for _, on_done in given:
            on_done("failed")


class Dropped:
    """Decisions dropped for a reason since this was made (values outlive a Metrics where Feast was imported)."""

    def __init__(self, metrics: Metrics, why: str) -> None:
        self.metrics, self.why = metrics, why
        self.before = self.total()

    def total(self) -> float:
        """Since ever."""
        self.metrics.log_dropped.labels(self.why)  # loads what the process counted before
        return self.metrics.registry.get_sample_value("firstmile_decision_log_dropped_total", {"why": self.why}) or 0.0

    def since(self) -> float:
        """Since this was made."""
        return self.total() - self.before


def spool(folder: Path, worker: str = "w", *, max_bytes: int = 1_000_000) -> Spool:
    """A spool that is not open yet."""
    return Spool(folder, worker, max_bytes=max_bytes)


def log_to(connect: Callable[[], Sink], folder: Path, metrics: LogMetrics, *, max_waiting: int = 10) -> DecisionLog:
    """A decision log to this sink; not started."""
    return DecisionLog(connect, lambda worker: spool(folder, worker), max_waiting=max_waiting, metrics=metrics)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 20 s"
        threading.Event().wait(0.01)


def record(n: int) -> dict[str, Any]:
    """The part of a record that the way to Kafka looks at, 100 bytes as a line."""
    return {"request_id": f"r{n:04d}", "user_id": "u", "sequence": n, "decided_at": to_datetime(NOW_US)}

"""The decision log: numbered, bounded, never in the way; what is lost is counted."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from serving_builder import Row, Rows, ladder

from firstmile.errors import DependencyError, WireError
from firstmile.names import LEARNED_FORMATS
from pipelines.topics import schema_text
from serving.answers import Decision
from serving.decisions import DecisionLog
from serving.metrics import Metrics
from serving.requests import Ask


@dataclass
class Sink:
    """A sink into a list, in trouble when told so."""

    taken: list[Mapping[str, Any]] = field(default_factory=list)
    trouble: list[Exception] = field(default_factory=list)

    def send(self, key: str, record: Mapping[str, Any]) -> None:
        """Take, or raise the next trouble."""
        if self.trouble:
            raise self.trouble.pop(0)
        assert key == record["user_id"]
        self.taken.append(record)

    def poll(self) -> None:
        """Nothing to notice."""

    def flush(self, timeout_s: float) -> int:
        """Nothing on its way."""
        return 0


def decision(user_id: str = "u1") -> Decision:
    on = ladder(Rows({"u1": Row()}))
    return asyncio.run(on.decide(Ask(user_id, "anon"), started_s=time.perf_counter()))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 20 s"
        threading.Event().wait(0.01)


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


def test_decisions_arrive_in_order_numbered_and_whole() -> None:
    sink, metrics = Sink(), Metrics()
    log = DecisionLog(lambda: sink, max_waiting=10, metrics=metrics)
    log.start()
    given = [decision() for _ in range(3)]
    assert [log.put(d) for d in given] == [True] * 3
    wait_for(lambda: len(sink.taken) == 3)
    log.stop()
    assert [r["sequence"] for r in sink.taken] == [0, 1, 2]
    assert [r["request_id"] for r in sink.taken] == [d.request_id for d in given]
    assert {r["worker"] for r in sink.taken} == {log.worker}


def test_record_has_exactly_the_fields_of_the_schema() -> None:
    schema = orjson.loads(schema_text("personalization.decisions"))
    record = decision().record(worker="w", sequence=0)
    assert set(record) == {f["name"] for f in schema["fields"]}
    assert record["rung"] == "model"
    assert record["features"]["clicks_total_count"] == 40
    assert set(record["predictions"]) == {
        "activation",
        "disengagement",
        "skill_level:beginner",
        "skill_level:intermediate",
        "skill_level:advanced",
        *(f"preference:{f}" for f in LEARNED_FORMATS),
    }


def test_full_queue_drops_counts_and_shows_as_a_gap() -> None:
    sink, metrics, is_back = Sink(), Metrics(), threading.Event()
    dropped = Dropped(metrics, "queue_full")

    def connect() -> Sink:
        if not is_back.is_set():
            raise DependencyError("registry is away")
        return sink

    log = DecisionLog(connect, max_waiting=2, metrics=metrics)
    assert [log.put(decision()) for _ in range(4)] == [True, True, False, False]
    assert dropped.since() == 2
    log.start()
    is_back.set()
    wait_for(lambda: len(sink.taken) == 2)
    log.put(decision())
    wait_for(lambda: len(sink.taken) == 3)
    log.stop()
    assert [r["sequence"] for r in sink.taken] == [0, 1, 4]


def test_sink_in_trouble_is_opened_again_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.decisions.RETRY_S", 0.01)
    sink, opened = Sink(trouble=[DependencyError("Kafka went away")]), []

    def connect() -> Sink:
        opened.append(1)
        return sink

    log = DecisionLog(connect, max_waiting=10, metrics=Metrics())
    log.start()
    log.put(decision())
    wait_for(lambda: len(sink.taken) == 1)
    log.stop()
    assert len(opened) == 2


def test_record_that_does_not_fit_is_counted_and_the_next_one_goes_on() -> None:
    sink, metrics = Sink(trouble=[WireError("no such field")]), Metrics()
    dropped = Dropped(metrics, "unfit")
    log = DecisionLog(lambda: sink, max_waiting=10, metrics=metrics)
    log.start()
    log.put(decision())
    log.put(decision())
    wait_for(lambda: len(sink.taken) == 1)
    log.stop()
    assert sink.taken[0]["sequence"] == 1
    assert dropped.since() == 1


def test_stop_hands_on_what_waits_and_counts_what_it_cannot() -> None:
    sink, metrics = Sink(), Metrics()
    log = DecisionLog(lambda: sink, max_waiting=10, metrics=metrics)
    log.put(decision())
    log.start()
    log.stop(timeout_s=20)
    assert len(sink.taken) == 1

    def never() -> Sink:
        raise DependencyError("registry is away")

    dropped = Dropped(metrics, "stopped")
    lost = DecisionLog(never, max_waiting=10, metrics=metrics)
    lost.put(decision())
    lost.put(decision())
    lost.start()
    lost.stop(timeout_s=20)
    assert dropped.since() == 2

"""The decision log: numbered, bounded, never in the way, at least once; what is lost is counted."""

import asyncio
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import orjson
from decision_sinks import Dropped, ListSink, log_to, wait_for
from serving_builder import Row, Rows, ladder

from examples.oulad.learning.preference import LEARNED_FORMATS
from firstmile.errors import DependencyError
from firstmile.wire import Record
from pipelines.topics import schema_text
from serving.answers import Decision
from serving.metrics import Metrics
from serving.requests import Ask
from serving.sink_opener import SinkOpener


def decision(user_id: str = "u1") -> Decision:
    on = ladder(Rows({"u1": Row()}))
    return asyncio.run(on.decide(Ask(user_id, "anon"), started_s=time.perf_counter()))


def test_decisions_arrive_in_order_numbered_and_whole(tmp_path: Path) -> None:
    sink, metrics = ListSink(), Metrics()
    log = log_to(lambda: sink, tmp_path, metrics)
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


def test_full_queue_drops_counts_and_shows_as_a_gap(tmp_path: Path) -> None:
    sink, metrics = ListSink(), Metrics()
    dropped = Dropped(metrics, "queue_full")
    log = log_to(lambda: sink, tmp_path, metrics, max_waiting=2)
    assert [log.put(decision()) for _ in range(4)] == [True, True, False, False]
    assert dropped.since() == 2
    log.start()
    wait_for(lambda: len(sink.taken) == 2)
    log.put(decision())
    wait_for(lambda: len(sink.taken) == 3)
    log.stop()
    assert [r["sequence"] for r in sink.taken] == [0, 1, 4]


def test_what_a_stopped_log_could_not_hand_on_is_sent_by_the_next_one(tmp_path: Path) -> None:
    def never() -> ListSink:
        raise DependencyError("registry is away")

    metrics, sink = Metrics(), ListSink()
    dropped = Dropped(metrics, "stopped")
    first = log_to(never, tmp_path, metrics)
    given = [decision() for _ in range(2)]
    for each in given:
        first.put(each)
    first.start()
    first.stop(timeout_s=20)
    second = log_to(lambda: sink, tmp_path, metrics)
    second.start()
    wait_for(lambda: len(sink.taken) == 2)
    second.stop(timeout_s=20)
    assert [(r["worker"], r["sequence"], r["request_id"]) for r in sink.taken] == [
        (first.worker, n, d.request_id) for n, d in enumerate(given)
    ]
    assert dropped.since() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["lock"]


@dataclass
class Hung:
    """A registry that takes the connection and answers once `gate` is open."""

    sink: ListSink = field(default_factory=ListSink)
    gate: threading.Event = field(default_factory=threading.Event)

    def connect(self) -> ListSink:
        assert self.gate.wait(60)
        return self.sink


def has_on_disk(folder: Path, n: int) -> bool:
    return sum(file.read_bytes().count(b"\n") for file in folder.rglob("*.jsonl")) == n


def test_while_the_registry_hangs_decisions_go_to_disk_and_none_is_dropped(tmp_path: Path) -> None:
    hung = Hung()
    log = log_to(hung.connect, tmp_path, Metrics(), max_waiting=5)
    log.start()
    for n in range(1, 4):
        assert [log.put(decision()) for _ in range(5)] == [True] * 5
        wait_for(partial(has_on_disk, tmp_path, 5 * n))
    hung.gate.set()
    wait_for(lambda: len(hung.sink.taken) == 15)
    log.stop()
    assert [r["sequence"] for r in hung.sink.taken] == list(range(15))
    assert has_on_disk(tmp_path, 0)


def test_stopped_while_the_registry_hangs_everything_is_on_disk_at_once(tmp_path: Path) -> None:
    hung = Hung()
    log = log_to(hung.connect, tmp_path, Metrics())
    log.start()
    assert [log.put(decision()) for _ in range(10)] == [True] * 10
    log.stop(timeout_s=20)
    assert not hung.gate.is_set()
    assert not log.is_alive()
    assert has_on_disk(tmp_path, 10)
    hung.gate.set()


def test_an_attempt_that_fails_in_whatever_way_is_told_and_the_next_one_counts() -> None:
    sink, trouble = ListSink(), [ValueError("no schema"), DependencyError("away")]

    def connect() -> ListSink:
        if trouble:
            raise trouble.pop(0)
        return sink

    opener, said = SinkOpener(connect), list[str]()

    def is_open() -> bool:
        try:
            return opener() is sink
        except DependencyError as error:
            said.append(str(error))
            return False

    wait_for(is_open)
    assert said == ["no way to Kafka could be opened: ValueError('no schema')", "away"]


def test_decision_that_cannot_be_told_is_counted_and_the_next_one_goes_on(tmp_path: Path) -> None:
    def fails() -> Record:
        raise KeyError("a field nobody knows")

    sink, metrics = ListSink(), Metrics()
    dropped = Dropped(metrics, "unfit")
    log = log_to(lambda: sink, tmp_path, metrics)
    log.put(replace(decision(), grounds=fails))
    log.put(decision())
    log.start()
    wait_for(lambda: len(sink.taken) == 1)
    log.stop()
    assert ([r["sequence"] for r in sink.taken], dropped.since()) == ([1], 1)

"""The way of decisions to Kafka: straight while it takes them, over the disk while it does not, never lost between."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from decision_sinks import Dropped, ListSink, record, spool

from firstmile.errors import DependencyError, WireError
from serving.metrics import Metrics
from serving.outbox import MAX_AT_ONCE, RETRY_S, SPOOL_S, Outbox


@dataclass
class Way:
    """An outbox over a sink and a folder, at a time that moves when told."""

    outbox: Outbox
    sink: ListSink
    folder: Path
    metrics: Metrics
    n_connects: int = 0
    now_s: float = 100.0

    def take(self, *numbers: int) -> None:
        """Take records of these numbers."""
        for n in numbers:
            self.outbox.take(record(n), now_s=self.now_s)

    def step(self, after_s: float = 0.0) -> None:
        """One step, so much later."""
        self.now_s += after_s
        self.outbox.step(now_s=self.now_s)

    def steps(self, n: int = 20) -> None:
        """Many, one after the other."""
        for _ in range(n):
            self.step(SPOOL_S)

    @property
    def taken(self) -> list[int]:
        """Numbers of the records that arrived, in order."""
        return [r["sequence"] for r in self.sink.taken]

    @property
    def files(self) -> list[Path]:
        """Segments on disk."""
        return sorted(self.folder.rglob("*.jsonl"))


def way(folder: Path, sink: ListSink | None = None, **changes: Any) -> Way:
    metrics, found = Metrics(), sink or ListSink()

    def connect() -> ListSink:
        made.n_connects += 1
        return found

    outbox = Outbox(connect, spool(folder, **changes), max_waiting=5, metrics=metrics)
    made = Way(outbox, found, folder, metrics)
    outbox.open()
    return made


def test_while_kafka_takes_them_nothing_touches_the_disk(tmp_path: Path) -> None:
    on = way(tmp_path)
    for n in range(5):
        on.take(n)
        on.step(0.01)
    on.steps()
    assert on.taken == [0, 1, 2, 3, 4]
    assert (on.files, on.outbox.n_waiting) == ([], 0)


def test_what_kafka_has_not_acknowledged_in_time_is_on_disk_and_arrives_once(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(is_away=True))
    on.take(0, 1)
    on.step(SPOOL_S / 2)
    assert on.files == []
    on.step(SPOOL_S)
    on.take(2)
    on.step(SPOOL_S)
    text = b"".join(file.read_bytes() for file in on.files).decode()
    assert [f"r{n:04d}" in text for n in range(3)] == [True] * 3
    on.sink.is_away = False
    on.steps()
    assert sorted(on.taken) == [0, 1, 2]
    assert (on.files, on.outbox.n_waiting) == ([], 0)
    on.take(3)
    on.step()
    assert on.taken[-1] == 3  # straight again


def test_what_waits_is_counted_once_whether_in_flight_on_disk_or_both(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(is_away=True))
    on.take(0, 1)
    on.step(0.1 * SPOOL_S)
    on.now_s += 0.5 * SPOOL_S
    on.take(2)  # the other two are overdue, and written, before it is
    for _ in range(6):
        on.step(0.6 * SPOOL_S)
        assert on.outbox.n_waiting == 3
    on.sink.is_away = False
    on.steps()
    assert on.outbox.n_waiting == 0


def test_what_the_client_gives_back_is_sent_again(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(is_away=True))
    on.take(0, 1)
    on.steps(3)
    on.sink.give_back()
    on.take(2)
    on.steps(3)
    on.sink.give_back()
    on.sink.is_away = False
    on.steps()
    assert sorted(on.taken) == [0, 1, 2]
    assert on.files == []


def test_a_registry_that_is_away_holds_nothing_up_and_loses_nothing(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(trouble=[DependencyError("away")] * 3))
    on.take(0, 1)
    assert on.n_connects == 1  # the second did not try: RETRY_S had not passed
    on.step(RETRY_S)
    on.take(2)
    on.steps(40)
    assert sorted(on.taken) == [0, 1, 2]
    assert on.n_connects == 4


def test_killed_after_it_was_written_arrives_by_the_next_one(tmp_path: Path) -> None:
    killed = way(tmp_path / "before", ListSink(is_away=True), worker="killed")
    killed.take(0, 1)
    killed.steps(2)
    living = way(tmp_path / "before", worker="early")
    living.steps()
    assert living.taken == []  # the lock is held: it lives
    # The disk as a kill leaves it: all files, and nobody's lock.
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    after = way(tmp_path / "after", worker="late")
    after.take(2)
    after.steps()
    assert sorted(after.taken) == [0, 1, 2]
    assert after.files == []


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(trouble=[DependencyError("away")] * 1_000), max_bytes=4_000)
    dropped = Dropped(on.metrics, "spool_full")
    for n in range(100):
        on.take(n)
        on.step(SPOOL_S)
    assert sum(file.stat().st_size for file in on.files) <= 4_000
    assert dropped.since() > 50
    on.sink.trouble.clear()
    on.steps(50)
    assert len(on.taken) + dropped.since() == 100
    assert 99 in on.taken


def test_a_disk_that_does_not_take_them_leaves_them_in_memory_up_to_a_bound(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(trouble=[DependencyError("away")] * 1_000))
    dropped = Dropped(on.metrics, "spool_failed")
    shutil.rmtree(tmp_path)
    on.take(*range(8))
    on.step(SPOOL_S)
    assert dropped.since() == 3
    on.sink.trouble.clear()
    on.steps()
    assert sorted(on.taken) == [3, 4, 5, 6, 7]


def test_an_unfit_record_is_counted_and_the_next_one_goes_on(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(trouble=[WireError("no such field")]))
    dropped = Dropped(on.metrics, "unfit")
    on.take(0, 1)
    on.step()
    assert (on.taken, dropped.since()) == ([1], 1)


def test_the_spool_is_sent_in_small_portions(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(trouble=[DependencyError("away")]))
    on.take(*range(3 * MAX_AT_ONCE))
    on.step(SPOOL_S)
    on.step(RETRY_S)
    assert len(on.sink.held) + len(on.taken) == MAX_AT_ONCE
    assert on.outbox.is_busy(now_s=on.now_s)
    on.steps()
    assert sorted(on.taken) == list(range(3 * MAX_AT_ONCE))


@pytest.mark.parametrize("is_away", [True, False])
def test_closed_it_has_sent_or_written_everything(tmp_path: Path, is_away: bool) -> None:
    on = way(tmp_path, ListSink(is_away=is_away), worker="first")
    on.take(0, 1)
    on.outbox.close(timeout_s=0.0)
    after = way(tmp_path, worker="second")
    after.steps()
    assert sorted(on.taken + after.taken) == [0, 1]


def test_closed_without_a_disk_what_is_lost_is_counted(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(is_away=True))
    dropped = Dropped(on.metrics, "stopped")
    on.take(0, 1)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    on.outbox.close(timeout_s=0.0)
    assert dropped.since() == 2


def test_a_damaged_line_on_disk_is_counted_as_lost(tmp_path: Path) -> None:
    on = way(tmp_path, ListSink(is_away=True))
    on.take(0, 1, 2)
    on.step(2 * SPOOL_S)
    (file,) = on.files
    first, _, last = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + b"\x00" * 9 + b"\n" + last)
    on.outbox.close(timeout_s=0)
    after = way(tmp_path, worker="another")
    lost = Dropped(after.metrics, "damaged")
    after.steps()
    assert after.taken == [0, 2]
    assert lost.since() == 1

"""Pipeline lag where something is wrong: the watch over ends goes on, a damaged record is its partition's own."""

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from decision_sinks import wait_for
from fake_kafka import FakeKafka

from feature_repo import progress
from feature_repo.lag import EndOffsets
from feature_repo.progress import Partition, Progress
from feature_repo.reader import FIELDS, OnlineReader
from firstmile.clock import FixedClock
from firstmile.errors import DataError
from firstmile.names import EVENT_TOPICS
from firstmile.settings import Settings

NOW_US = 1_790_000_000_000_000
RECORD = Progress(3, "topic", NOW_US)
DAMAGED = [b"{", b"\xff", b"[]", b"7", b'{"next_offset": 3}', progress.encode(RECORD).replace(b"3", b'"3"', 1)]


def watch(read_progress: Any) -> EndOffsets:
    client: Any = FakeKafka({"t": [3]})
    return EndOffsets(
        client, clock=FixedClock(NOW_US), read_progress=read_progress, n_partitions=1, interval_s=0.001, topics=["t"]
    )


def test_a_look_that_fails_in_whatever_way_is_said_once_and_not_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    n_looks, is_done = 0, threading.Event()

    def trouble(partitions: Iterable[Partition]) -> dict[Partition, Progress]:
        nonlocal n_looks
        n_looks += 1
        if n_looks < 5:
            raise TypeError("an unexpected field")
        is_done.set()
        return {("t", 0): RECORD}

    on = watch(trouble)
    assert not on.is_alive()
    on.start()
    assert is_done.wait(20)
    wait_for(lambda: on.caught_up_us == {("t", 0): NOW_US})
    assert on.is_alive()
    on.stop()
    assert not on.is_alive()
    assert caplog.text.count("looking where topics end failed") == 1


def test_a_record_of_a_newer_stream_is_read_by_who_only_reads() -> None:
    newer = progress.encode(RECORD).replace(b"{", b'{"epoch":1,')
    assert progress.parse(newer) == RECORD


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_record_is_said_to_be(data: bytes) -> None:
    with pytest.raises(DataError, match="firstmile recover"):
        progress.parse(data)


class Stored:
    """A Redis of progress records."""

    def __init__(self, *records: bytes | None) -> None:
        self.records = records

    def hmget(self, key: str, fields: list[str]) -> list[bytes | None]:
        """All of them, whoever asks."""
        return [*self.records]


@pytest.mark.parametrize("data", [*DAMAGED, progress.encode(RECORD).replace(b"{", b'{"epoch":1,')])
def test_who_writes_records_refuses_those_it_could_not_write_again(data: bytes) -> None:
    client: Any = Stored(progress.encode(RECORD), data)
    with pytest.raises(DataError):
        progress.read(client, [("t", 0), ("t", 1)])
    client.records = (progress.encode(RECORD), None)
    assert progress.read(client, [("t", 0), ("t", 1)]) == {("t", 0): RECORD}


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_record_leaves_the_lag_of_its_own_partition_unknown_and_fails_nobody(
    tmp_path: Path, data: bytes
) -> None:
    reader = OnlineReader(Settings(home=tmp_path, kafka={"partitions": 2}))
    users = [f"u{i}" for i in range(20)]
    trip = reader.trip([(user, NOW_US) for user in users])
    of_user = {user: number for user, (number,) in zip(users, trip.numbers, strict=True)}
    assert set(of_user.values()) == {0, 1}
    records = [data if p == (EVENT_TOPICS[0], 1) else progress.encode(RECORD) for p in trip.partitions]
    found = reader.found(trip, [records, *([None] * len(FIELDS) for _ in users)])
    assert [lag_ms for _, lag_ms in found] == [0.0 if of_user[user] == 0 else None for user in users]


def test_the_readable_records_are_read_and_a_damaged_one_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    reader = OnlineReader(Settings(home=tmp_path))
    stored: Any = Stored(progress.encode(RECORD), b"{")
    reader.client = stored
    for _ in range(2):
        assert reader.read_progress([("t", 0), ("t", 1)]) == {("t", 0): RECORD}
    assert caplog.text.count("lag is not known of t:1") == 1
    stored.records = (progress.encode(RECORD), b"{", None)
    assert reader.pipeline_lag_ms("u") is None

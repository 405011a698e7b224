"""The lag of a user's partitions, as many as Kafka has: the settings here say another number, the records what lies in
Redis. Kafka and Redis are dictionaries."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import redis
from fake_kafka import FakeKafka

from feature_repo import progress
from feature_repo.lag import EndOffsets
from feature_repo.partitions import partitions_of
from feature_repo.progress import Progress
from feature_repo.reader import FIELDS, OnlineReader
from firstmile.clock import FixedClock
from firstmile.names import EVENT_TOPICS, USER_ACTIONS
from firstmile.settings import Settings

NOW_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000
N, GROWN = 12, 24
STAYS = next(f"u{i}" for i in range(9_999) if partitions_of(f"u{i}".encode(), (N, GROWN)) == (7, 7))
MOVES = next(f"u{i}" for i in range(9_999) if partitions_of(f"u{i}".encode(), (N, GROWN)) == (7, 19))


class Records:
    """A Redis of progress records."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.is_away = False

    def read_up_to(self, offset: int, *, n_partitions: int) -> None:
        """The stream's word, its newest event a minute old."""
        record = progress.encode(Progress(offset, "id", NOW_US - MINUTE_US))
        self.stored |= {progress.field((t, number)): record for t in EVENT_TOPICS for number in range(n_partitions)}

    def hmget(self, key: str, fields: Iterable[str]) -> list[bytes | None]:
        """Records by field."""
        assert not self.is_away
        return [self.stored.get(field) for field in fields]

    def hkeys(self, key: str) -> list[bytes]:
        """All fields there are."""
        if self.is_away:
            raise redis.ConnectionError("away")
        return [field.encode() for field in self.stored]


class World:
    """A reader of users' lags, told of so many partitions by its settings, and a watch of the ends that looked once."""

    def __init__(self, folder: Path, kafka: FakeKafka, records: Records, *, n_said: int) -> None:
        settings = Settings(home=folder, kafka={"partitions": n_said})
        client: Any = kafka
        stored: Any = records
        first = OnlineReader(settings)
        first.client = stored
        self.clock = FixedClock(NOW_US)
        self.ends = EndOffsets(
            client,
            clock=self.clock,
            read_progress=first.read_progress,
            n_partitions=n_said,
            n_recorded=first.n_recorded,
        )
        self._reader = OnlineReader(settings, ends=self.ends)
        self._reader.client = stored

    def lag_ms(self, user_id: str) -> float | None:
        """Of one user, now; by either way of asking the same."""
        now_us = self.clock.now_us()
        alone = self._reader.pipeline_lag_ms(user_id, now_us)
        self._reader._clock = FixedClock(now_us)
        trip = self._reader.trip([("somebody", 0), (user_id, 0)])
        stored = [self._reader.client.hmget(key, fields) for key, fields in trip.hashes[:1]]
        (_, together) = self._reader.found(trip, [*stored, *([None] * len(FIELDS) for _ in trip.asked)])
        assert together[1] == alone
        return alone


def topics(n: int, *, end: int = 5) -> dict[str, list[int]]:
    return {topic: [end] * n for topic in EVENT_TOPICS}


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka(topics(N))


@pytest.fixture
def records() -> Records:
    found = Records()
    found.read_up_to(5, n_partitions=N)
    return found


@pytest.mark.parametrize("n_said", [2, N, 50])
def test_lag_is_of_the_partition_that_kafka_puts_the_user_in_whatever_the_settings_say(
    tmp_path: Path, kafka: FakeKafka, records: Records, n_said: int
) -> None:
    world = World(tmp_path, kafka, records, n_said=n_said)
    world.ends.look()
    assert [world.lag_ms(user) for user in (STAYS, "somebody")] == [0.0, 0.0]
    kafka.topics[USER_ACTIONS][7] += 1
    world.clock = FixedClock(NOW_US + MINUTE_US)
    world.ends.look()
    assert [world.lag_ms(user) for user in (STAYS, "somebody")] == [60_000.0, 0.0]


def test_unread_records_of_before_topics_grew_count_for_who_has_moved(
    tmp_path: Path, kafka: FakeKafka, records: Records
) -> None:
    world = World(tmp_path, kafka, records, n_said=2)
    world.ends.look()
    kafka.topics = topics(GROWN, end=0)
    for topic in EVENT_TOPICS:
        kafka.topics[topic][:N] = [5] * N
    kafka.topics[USER_ACTIONS][7] = 6
    world.clock = FixedClock(NOW_US + MINUTE_US)
    world.ends.look()
    assert [world.lag_ms(user) for user in (STAYS, MOVES, "somebody")] == [60_000.0, 60_000.0, 0.0]
    records.read_up_to(6, n_partitions=N)
    assert [world.lag_ms(user) for user in (STAYS, MOVES, "somebody")] == [0.0, 0.0, 0.0]  # and no store is lost


def test_records_in_a_new_partition_wait_although_the_stream_has_no_record_of_it(
    tmp_path: Path, kafka: FakeKafka, records: Records
) -> None:
    kafka.topics = topics(GROWN)
    world = World(tmp_path, kafka, records, n_said=2)  # started after the growth: who moved when is not known
    world.ends.look()
    assert [world.lag_ms(user) for user in (STAYS, MOVES)] == [0.0, 0.0]
    world.clock = FixedClock(NOW_US + MINUTE_US)
    assert [world.lag_ms(user) for user in (STAYS, MOVES)] == [0.0, 60_000.0]


def test_while_kafka_has_never_answered_the_count_is_what_the_records_know(
    tmp_path: Path, kafka: FakeKafka, records: Records
) -> None:
    kafka.is_away = True
    world = World(tmp_path, kafka, records, n_said=50)
    assert world.lag_ms(STAYS) is None  # in the fifty partitions of the settings
    with pytest.raises(Exception, match="Timed out"):
        world.ends.look()
    assert (world.ends.counts.in_use, world.lag_ms(STAYS)) == ((N,), 0.0)
    kafka.is_away, kafka.topics = False, topics(GROWN, end=0)
    world.ends.look()
    assert world.ends.counts.in_use == (GROWN, N)
    kafka.is_away = True
    with pytest.raises(Exception, match="Timed out"):
        world.ends.look()
    assert world.ends.counts.in_use == (GROWN, N)


def test_without_kafka_and_records_the_count_is_that_of_the_settings(tmp_path: Path, records: Records) -> None:
    world = World(tmp_path, FakeKafka(is_away=True), records, n_said=3)
    records.is_away = True
    with pytest.raises(Exception, match="Timed out"):
        world.ends.look()
    records.is_away, records.stored = False, {"onboarding.context:x": b"", "crm.profiles:8": b"", "junk": b""}
    with pytest.raises(Exception, match="Timed out"):
        world.ends.look()
    assert world.ends.counts.in_use == (3,)


def test_without_topics_nothing_waits(tmp_path: Path, records: Records) -> None:
    world = World(tmp_path, FakeKafka(), records, n_said=3)
    world.ends.look()
    assert (world.ends.ends, world.lag_ms(STAYS)) == ({}, 0.0)

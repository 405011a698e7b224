"""Lag of users in the partitions that a real Kafka has, whatever the settings say, also when topics grow.

The users have no rows: what an answer says of their lag is what the progress records and the topics' ends make of it.
"""

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from confluent_kafka.admin import NewPartitions, NewTopic
from conftest import settings_on_free_ports
from online_rows import write_progress, write_user
from running import poll, run

from feature_repo.online_store import connect
from feature_repo.partitions import partitions_of
from firstmile.broker import admin, describe_topics, producer
from firstmile.clock import SystemClock
from firstmile.local.stack import Stack
from firstmile.names import EVENT_TOPICS, USER_ACTIONS
from firstmile.settings import Settings
from serving.requests import Ask
from serving.wiring import Process, start_process

N, GROWN, SAID = 12, 24, 2
HALF_A_MINUTE_US = 30_000_000
LATE_MS = 25_000.0
"""More than the clocks of a test go on, less than half a minute."""


@dataclass
class Served:
    """A serving process in this one, told of two partitions where Kafka has twelve."""

    process: Process
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def lag_ms(self, user_id: str) -> float | None:
        """As the answer to this user says it."""
        deciding = self.process.desk.ladder.decide(Ask(user_id), started_s=time.perf_counter())
        return self.runner.run(deciding).basis.feature_lag_ms


@contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    served = Served(start_process(settings))
    try:
        yield served
    finally:
        served.process.close()
        served.runner.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka and Redis, both with nothing in them; Kafka's event topics have twelve partitions."""
    serving = {"model_wait_s": 0.0, "budget_ms": 10_000.0, "feature_timeout_ms": 5_000.0}
    settings = settings_on_free_ports(tmp_path_factory.mktemp("count"), serving=serving, kafka={"partitions": SAID})
    stack = Stack(settings, with_parent=True)
    stack.up(["kafka", "redis"])
    try:
        client = admin(settings)
        for future in client.create_topics([NewTopic(t, num_partitions=N) for t in EVENT_TOPICS]).values():
            future.result()
        yield stack
    finally:
        stack.down()


def have_read(settings: Settings, *, n_partitions: int, next_offset: int) -> None:
    """As if the stream had read so far, its newest event half a minute old."""
    received_us = SystemClock().now_us() - HALF_A_MINUTE_US
    client = connect(settings.redis_url, timeout_s=5)
    write_progress(client, n_partitions=n_partitions, next_offset=next_offset, received_us=received_us)


def user_in(*numbers: int, counts: Sequence[int] = (N, GROWN)) -> str:
    """Somebody who lies in these partitions by these counts."""
    return next(user for i in range(9_999) if partitions_of((user := f"u{i}").encode(), counts) == numbers)


def send(settings: Settings, user_id: str) -> None:
    """One record of the user."""
    sending = producer(settings)
    sending.send(USER_ACTIONS, key=user_id, value=b"a record")
    sending.flush()


def is_late(served: Served, user_id: str) -> bool:
    return (served.lag_ms(user_id) or 0.0) > LATE_MS


def test_lag_is_that_of_the_users_partition_in_kafka_before_and_after_topics_grew(stack: Stack) -> None:
    settings = stack.settings
    stays, moves, elsewhere = user_in(7, 7), user_in(7, 19), user_in(3, 15)
    send(settings, stays)  # so that it was not seen read to its end before
    have_read(settings, n_partitions=N, next_offset=0)
    with serving(settings) as served:
        poll(lambda: is_late(served, stays), what="the lag of partition 7")
        assert is_late(served, moves)
        assert served.lag_ms(elsewhere) == 0.0

        client = admin(settings)
        for future in client.create_partitions([NewPartitions(t, GROWN) for t in EVENT_TOPICS]).values():
            future.result()
        poll(lambda: served.process.ends.counts.in_use == (GROWN, N), what="the new count")
        assert is_late(served, stays)
        assert is_late(served, moves)  # what waits in the partition before is missing from the row
        assert served.lag_ms(elsewhere) == 0.0  # new to a stream that keeps up, not in a store that was lost

        have_read(settings, n_partitions=N, next_offset=1)
        poll(lambda: served.lag_ms(stays) == served.lag_ms(moves) == 0.0, what="everything read")
        send(settings, moves)
        poll(lambda: (served.lag_ms(moves) or 0.0) > 0, what="the lag of a partition the stream has not begun")
        assert served.lag_ms(stays) == 0.0
        have_read(settings, n_partitions=GROWN, next_offset=1)
        poll(lambda: served.lag_ms(moves) == 0.0, what="everything read again")


def test_lag_of_one_user_is_shown_by_kafkas_count(stack: Stack) -> None:
    settings = stack.settings
    n = describe_topics(settings, [USER_ACTIONS])[USER_ACTIONS].n_partitions
    user, shown = user_in(11, counts=(n,)), []
    write_user(connect(settings.redis_url, timeout_s=5), user, now_us=SystemClock().now_us())
    have_read(settings, n_partitions=n, next_offset=0)
    for _ in range(2):
        done = run(settings, "features", user)
        assert done.returncode == 0, done.stderr
        shown.append(orjson.loads(done.stdout)["pipeline_lag_ms"])
        send(settings, user)
    assert shown[0] == 0.0
    assert shown[1] > LATE_MS


def test_kafka_that_does_not_answer_holds_up_neither_a_start_nor_an_answer(stack: Stack) -> None:
    have_read(stack.settings, n_partitions=GROWN, next_offset=9)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        kafka = stack.settings.kafka.model_copy(update={"bootstrap_servers": address})
        began_s = time.monotonic()
        with serving(stack.settings.model_copy(update={"kafka": kafka})) as served:
            started_s = time.monotonic() - began_s
            poll(lambda: served.process.ends.counts.in_use == (GROWN,), timeout_s=1.0, what="the records' count")
            began_s = time.monotonic()
            assert served.lag_ms(user_in(15, counts=(GROWN,))) == 0.0
            answered_s = time.monotonic() - began_s
    assert started_s < 10
    assert answered_s < 2

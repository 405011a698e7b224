"""When a worker is ready: models warm and one row read in time, and then for good. And when it is alive."""

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from serving_builder import Rows

from serving.health import GIVE_UP_S, Readiness
from serving.wiring import Process


@pytest.fixture
def looked() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_worker_is_not_ready_before_the_models_and_does_not_even_read() -> None:
    reader = Rows()
    assert not asyncio.run(Readiness(threading.Event(), reader, timeout_s=20).is_ready())
    assert not reader.asked


def test_worker_is_ready_once_a_row_was_read_and_stays_so_without_reading_again(looked: threading.Event) -> None:
    reader = Rows(error=redis.ConnectionError("away"))
    ready = Readiness(looked, reader, timeout_s=20)
    assert not asyncio.run(ready.is_ready())
    reader.error = None
    assert asyncio.run(ready.is_ready())
    reader.error = redis.ConnectionError("away again")
    n_reads = len(reader.asked)
    assert asyncio.run(ready.is_ready())
    assert len(reader.asked) == n_reads


def test_store_that_answers_too_late_makes_nobody_ready(looked: threading.Event) -> None:
    assert not asyncio.run(Readiness(looked, Rows(), timeout_s=0).is_ready())


def test_worker_started_while_the_store_is_away_is_ready_without_it_after_a_while(looked: threading.Event) -> None:
    now_s = [0.0]
    reader = Rows(error=redis.ConnectionError("away"))
    ready = Readiness(looked, reader, timeout_s=20, now_s=lambda: now_s[0])
    now_s[0] = GIVE_UP_S - 0.1
    assert not asyncio.run(ready.is_ready())
    now_s[0] = GIVE_UP_S
    assert asyncio.run(ready.is_ready())


@dataclass
class Part:
    """A part of a process whose thread lives, or has died."""

    lives: bool = True

    def is_alive(self) -> bool:
        """Whether."""
        return self.lives


@pytest.mark.parametrize("dead", [None, "watch", "ends", "log"])
def test_a_worker_is_alive_while_each_of_its_threads_that_no_answer_waits_for_is(dead: str | None) -> None:
    parts: dict[str, Any] = {name: Part(name != dead) for name in ("watch", "ends", "log")}
    rest: Any = None
    on = Process(rest, rest, parts["watch"], parts["ends"], rest, (parts["log"],), rest, rest)
    assert on.is_alive() == (dead is None)

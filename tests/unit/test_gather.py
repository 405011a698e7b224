"""Gathering: those who come while a call runs share the next one; a stuck call holds nobody up for long."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from serving import gather as module
from serving.gather import MAX_TOGETHER, Gather
from serving.stage import StageError


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    held = threading.Event()
    yield held
    held.set()


class Calls:
    """Work that writes down its keys; the first call waits for `gate`."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.gate, self.seen = gate, list[list[int]]()

    def __call__(self, keys: Sequence[int]) -> list[int]:
        self.seen.append(list(keys))
        if self.gate is not None and len(self.seen) == 1:
            self.gate.wait(10)
        return [10 * key for key in keys]


def test_lone_key_is_asked_at_once_and_alone() -> None:
    calls = Calls()
    assert asyncio.run(Gather("g", calls, n_threads=1).ask(3, timeout_s=20)) == 30
    assert calls.seen == [[3]]


def test_keys_that_come_during_a_call_share_the_next_and_each_gets_its_own(gate: threading.Event) -> None:
    calls = Calls(gate)
    stage = Gather("g", calls, n_threads=1)

    async def ask() -> list[int]:
        asked = [asyncio.ensure_future(stage.ask(key, timeout_s=20)) for key in range(5)]
        while not calls.seen:
            await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask()) == [0, 10, 20, 30, 40]
    assert calls.seen == [[0], [1, 2, 3, 4]]


def test_no_call_takes_more_than_the_most(gate: threading.Event) -> None:
    calls = Calls(gate)
    stage = Gather("g", calls, n_threads=1)

    async def ask() -> list[int]:
        asked = [asyncio.ensure_future(stage.ask(key, timeout_s=20)) for key in range(2 * MAX_TOGETHER)]
        while not calls.seen:
            await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask()) == [10 * key for key in range(2 * MAX_TOGETHER)]
    assert [len(keys) for keys in calls.seen] == [1, MAX_TOGETHER, MAX_TOGETHER - 1]


def test_those_behind_a_stuck_call_go_on_without_it(gate: threading.Event) -> None:
    calls = Calls(gate)
    stage = Gather("g", calls, n_threads=2)

    async def ask() -> list[object]:
        asked = [stage.ask(1, timeout_s=0.2), stage.ask(2, timeout_s=20), stage.ask(3, timeout_s=20)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    first, *others = asyncio.run(ask())
    assert isinstance(first, StageError)
    assert first.problem == "late"
    assert others == [20, 30]


def test_who_gave_up_waiting_is_not_asked_for(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERDUE_S", 3_600)
    calls = Calls(gate)
    stage = Gather("g", calls, n_threads=1)

    async def ask() -> list[object]:
        asked = [stage.ask(1, timeout_s=20), stage.ask(2, timeout_s=0.05)]
        tasks = [asyncio.ensure_future(a) for a in asked]
        await asyncio.wait([tasks[1]])
        gate.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    first, second = asyncio.run(ask())
    assert first == 10
    assert isinstance(second, StageError)
    assert calls.seen == [[1]]


def test_error_of_a_call_is_everybody_s_and_the_next_call_works(gate: threading.Event) -> None:
    def work(keys: Sequence[int]) -> list[int]:
        return [1 // key for key in keys]

    stage = Gather("g", work, n_threads=1)

    async def ask() -> tuple[object, int]:
        (failed,) = await asyncio.gather(stage.ask(0, timeout_s=20), return_exceptions=True)
        return failed, await stage.ask(1, timeout_s=20)

    failed, answered = asyncio.run(ask())
    assert isinstance(failed, StageError)
    assert (failed.problem, answered) == ("failed", 1)

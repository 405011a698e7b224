"""Gathering: those who come while a call is under way share the next one; a stuck call holds nobody up for long."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from serving import gather as module
from serving.gather import MAX_TOGETHER, Gather
from serving.stage import StageError


class Calls:
    """Work that writes down its keys; the first call waits for `gate`."""

    def __init__(self, *, is_held: bool = False) -> None:
        self.is_held, self.gate, self.seen = is_held, asyncio.Event(), list[list[int]]()

    async def __call__(self, keys: Sequence[int]) -> list[int]:
        self.seen.append(list(keys))
        if self.is_held and len(self.seen) == 1:
            await self.gate.wait()
        return [100 // key for key in keys]


async def ask_all(calls: Calls, asked: Sequence[Coroutine[Any, Any, int]]) -> list[object]:
    """What each is answered; the gate opens once the first call has begun."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    while not calls.seen:
        await asyncio.sleep(0)
    calls.gate.set()
    return list(await asyncio.gather(*tasks, return_exceptions=True))


def test_lone_key_is_asked_at_once_and_alone() -> None:
    calls = Calls()
    assert asyncio.run(Gather("g", calls).ask(4, timeout_s=20)) == 25
    assert calls.seen == [[4]]


def test_keys_that_come_during_a_call_share_the_next_and_each_gets_its_own() -> None:
    calls = Calls(is_held=True)
    stage = Gather("g", calls)
    assert asyncio.run(ask_all(calls, [stage.ask(key, timeout_s=20) for key in (1, 2, 4, 5)])) == [100, 50, 25, 20]
    assert calls.seen == [[1], [2, 4, 5]]


def test_no_call_takes_more_than_the_most() -> None:
    calls = Calls(is_held=True)
    stage = Gather("g", calls)
    asked = [stage.ask(1, timeout_s=20) for _ in range(2 * MAX_TOGETHER)]
    assert asyncio.run(ask_all(calls, asked)) == [100] * 2 * MAX_TOGETHER
    assert [len(keys) for keys in calls.seen] == [1, MAX_TOGETHER, MAX_TOGETHER - 1]


def test_those_behind_a_stuck_call_go_on_without_it() -> None:
    calls = Calls(is_held=True)
    stage = Gather("g", calls)

    async def ask() -> list[object]:
        asked = [stage.ask(1, timeout_s=0.2), stage.ask(2, timeout_s=20), stage.ask(4, timeout_s=20)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    first, *others = asyncio.run(ask())
    assert isinstance(first, StageError)
    assert first.problem == "late"
    assert others == [50, 25]


def test_who_gave_up_waiting_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERDUE_S", 3_600)
    calls = Calls(is_held=True)
    stage = Gather("g", calls)

    async def ask() -> list[object]:
        tasks = [asyncio.ensure_future(a) for a in (stage.ask(1, timeout_s=20), stage.ask(2, timeout_s=0.05))]
        await asyncio.wait([tasks[1]])
        calls.gate.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    first, second = asyncio.run(ask())
    assert first == 100
    assert isinstance(second, StageError)
    assert calls.seen == [[1]]


def test_error_of_a_call_is_everybody_s_and_the_next_call_works() -> None:
    calls = Calls(is_held=True)
    stage = Gather("g", calls)

    async def ask() -> tuple[list[object], int]:
        answers = await ask_all(calls, [stage.ask(key, timeout_s=20) for key in (1, 0, 2)])
        return answers, await stage.ask(4, timeout_s=20)

    (first, *failed), answered = asyncio.run(ask())
    assert (first, answered) == (100, 25)
    assert [e.problem for e in failed if isinstance(e, StageError)] == ["failed", "failed"]

"""Stages: deadlines that hold, breakers that open and close, pools that stay bounded."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from serving.stage import Breaker, Stage, StageError


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    held = threading.Event()
    yield held
    held.set()


def problem(stage: Stage, work: object, timeout_s: float = 20.0) -> str:
    with pytest.raises(StageError) as error:
        asyncio.run(stage.run(work, timeout_s=timeout_s))  # type: ignore[arg-type]
    return error.value.problem


def test_result_comes_through() -> None:
    assert asyncio.run(Stage("s", n_threads=1).run(lambda: 7, timeout_s=20)) == 7


def test_hung_work_is_late_and_does_not_hold_up_the_next_thread(gate: threading.Event) -> None:
    stage = Stage("s", n_threads=2)
    assert problem(stage, lambda: gate.wait(10), timeout_s=0.05) == "late"
    assert asyncio.run(stage.run(lambda: 7, timeout_s=20)) == 7


def test_work_behind_stuck_threads_is_late_and_never_run(gate: threading.Event) -> None:
    stage, ran = Stage("s", n_threads=1), []
    assert problem(stage, lambda: gate.wait(10), timeout_s=0.05) == "late"
    assert problem(stage, lambda: ran.append(1), timeout_s=0.05) == "late"
    gate.set()
    assert asyncio.run(stage.run(lambda: 7, timeout_s=20)) == 7
    assert not ran


def test_error_of_any_kind_is_a_failed_stage() -> None:
    assert problem(Stage("s", n_threads=1), lambda: 1 / 0) == "failed"


def test_no_time_is_late_and_not_held_against_the_dependency() -> None:
    stage = Stage("s", n_threads=1, breaker=Breaker(max_failures=1, failing_s=0))
    assert problem(stage, lambda: 7, timeout_s=0) == "late"
    assert asyncio.run(stage.run(lambda: 7, timeout_s=20)) == 7


def test_failures_in_a_row_open_the_breaker_and_one_trial_closes_it() -> None:
    stage = Stage("s", n_threads=1, breaker=Breaker(max_failures=2, failing_s=0, cool_down_s=3600))
    assert [problem(stage, lambda: 1 / 0) for _ in range(3)] == ["failed", "failed", "refused"]
    stage.breaker.cool_down_s = 0
    stage.breaker.failed(now_s=0)
    assert asyncio.run(stage.run(lambda: 7, timeout_s=20)) == 7
    assert stage.breaker.n_failures == 0


def test_success_between_failures_keeps_the_breaker_closed() -> None:
    breaker = Breaker(max_failures=2, failing_s=0)
    for _ in range(5):
        breaker.failed(now_s=0)
        breaker.succeeded()
    assert breaker.allows(now_s=0)


def test_failures_within_one_short_stall_do_not_open_the_breaker() -> None:
    breaker = Breaker(max_failures=2, failing_s=0.5)
    for now_s in (0.0, 0.1, 0.2, 0.3):
        breaker.failed(now_s=now_s)
        assert breaker.allows(now_s=now_s)
    breaker.failed(now_s=0.6)
    assert not breaker.allows(now_s=0.6)


def test_more_waiting_work_than_allowed_is_refused(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.stage.MAX_WAITING", 2)
    stage = Stage("s", n_threads=1)
    assert [problem(stage, lambda: gate.wait(10), timeout_s=0.05) for _ in range(2)] == ["late", "late"]
    # The second was taken back from the queue when its caller left; the first still holds thread and place.
    assert problem(stage, lambda: gate.wait(10), timeout_s=0.05) == "late"

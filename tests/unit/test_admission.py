"""Admission: the heartbeat that knows how late the loop is, what is shed by it, and the way a request takes."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from firstmile.setting_sections import ServingSettings
from serving.admission import Admission, FirstLayer
from serving.heartbeat import Heartbeat
from serving.watchdog import POLL_S, Watchdog

SETTINGS = ServingSettings(max_in_flight=2, max_lag_ms=50)


class Loop:
    """A loop whose timers go off when told."""

    def __init__(self) -> None:
        self.timer: Any = None

    def call_later(self, delay_s: float, callback: Any, *args: Any) -> Any:
        self.timer = lambda: callback(*args)
        return asyncio.TimerHandle(0.0, lambda: None, (), self)  # type: ignore[arg-type]

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: Any) -> None:
        pass


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def heartbeat(clock: list[float], loop: Loop) -> Heartbeat:
    made = Heartbeat(interval_s=0.01, now_s=lambda: clock[0])
    made.start(loop)  # type: ignore[arg-type]
    return made


def test_loop_that_comes_round_in_time_is_not_late(heartbeat: Heartbeat, clock: list[float], loop: Loop) -> None:
    for n in range(1, 4):
        clock[0] += 0.01
        loop.timer()
        assert heartbeat.lag_ms() == pytest.approx(0, abs=1e-6)
        assert heartbeat.n_beats == n


def test_lag_is_seen_before_the_late_beat_and_until_a_timely_one(
    heartbeat: Heartbeat, clock: list[float], loop: Loop
) -> None:
    clock[0] += 0.09
    assert heartbeat.lag_ms() == pytest.approx(80)
    loop.timer()
    assert heartbeat.lag_ms() == pytest.approx(80)
    clock[0] += 0.01
    loop.timer()
    assert heartbeat.lag_ms() == pytest.approx(0, abs=1e-6)


def test_heart_that_does_not_beat_is_never_late(clock: list[float], loop: Loop) -> None:
    still = Heartbeat(now_s=lambda: clock[0])
    clock[0] += 5
    assert still.lag_ms() == 0
    still.start(loop)  # type: ignore[arg-type]
    clock[0] += 5
    assert still.lag_ms() > 1_000
    still.stop()
    loop.timer()
    assert (still.lag_ms(), still.n_beats) == (0, 0)


def test_heartbeat_on_a_real_loop_notices_that_it_was_blocked() -> None:
    async def blocked() -> tuple[float, int]:
        heartbeat = Heartbeat()
        heartbeat.start(asyncio.get_running_loop())
        time.sleep(0.1)
        lag_ms = heartbeat.lag_ms()
        while heartbeat.n_beats < 2:
            await asyncio.sleep(0)
        heartbeat.stop()
        return lag_ms, heartbeat.n_beats

    lag_ms, n_beats = asyncio.run(blocked())
    assert lag_ms >= 80
    assert n_beats == 2


def test_requests_are_shed_by_their_number_and_taken_again_when_one_is_answered() -> None:
    admission = Admission()
    with admission:
        assert not admission.sheds(SETTINGS)
        with admission:
            assert admission.sheds(SETTINGS)
        assert not admission.sheds(SETTINGS)
    assert admission.n_in_flight == 0


def test_decision_that_raises_leaves_its_place() -> None:
    admission = Admission()
    with pytest.raises(ZeroDivisionError), admission:
        _ = 1 / 0
    assert admission.n_in_flight == 0


def test_requests_are_shed_while_the_loop_is_late(heartbeat: Heartbeat, clock: list[float], loop: Loop) -> None:
    admission = Admission(heartbeat=heartbeat)
    clock[0] += 0.059
    assert not admission.sheds(SETTINGS)
    clock[0] += 0.002
    assert admission.sheds(SETTINGS)
    loop.timer()
    clock[0] += 0.01
    loop.timer()
    assert not admission.sheds(SETTINGS)


def test_decisions_take_the_short_way_and_everything_else_the_long_one() -> None:
    async def seen(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"decided {request.url.path}")

    async def short(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("the short way")(scope, receive, send)

    async def behind(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"behind {request.url.path}")

    layer = FirstLayer(
        Starlette(routes=[Route("/{rest:path}", behind)]),
        Starlette(routes=[Route("/personalization", seen, methods=["POST"])]),
        short,
    )

    async def call(method: str, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(layer), base_url="http://x") as client:
            return await client.request(method, path, headers=headers)

    assert asyncio.run(call("POST", "/api/personalization")).text == "the short way"
    page = asyncio.run(call("POST", "/api/personalization", origin="https://app.example.com"))
    assert page.text == "decided /api/personalization"
    assert asyncio.run(call("GET", "/api/personalization")).status_code == 405
    assert asyncio.run(call("GET", "/livez")).text == "behind /livez"
    assert asyncio.run(call("GET", "/api/other")).text == "behind /api/other"


def test_still_heart_is_noticed_after_the_limit_and_a_beating_one_never(
    heartbeat: Heartbeat, clock: list[float], loop: Loop
) -> None:
    watchdog = Watchdog(heartbeat, limit_s=1.0)
    for _ in range(30):
        clock[0] += 0.01
        loop.timer()
        assert not watchdog.look(POLL_S)
    assert [watchdog.look(POLL_S) for _ in range(11)] == [False] * 10 + [True]


def test_time_in_which_the_watch_itself_did_not_run_is_not_held_against_the_loop(heartbeat: Heartbeat) -> None:
    watchdog = Watchdog(heartbeat, limit_s=1.0)
    assert not watchdog.look(3_600)


def test_watchdog_ends_a_process_whose_loop_is_blocked(capfd: pytest.CaptureFixture[str]) -> None:
    ended: list[float] = []

    async def block() -> None:
        heartbeat = Heartbeat()
        heartbeat.start(asyncio.get_running_loop())
        watchdog = Watchdog(heartbeat, limit_s=0.2, end=lambda: ended.append(time.monotonic()))
        watchdog.start()
        deadline = time.monotonic() + 20
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
        watchdog.stop()
        heartbeat.stop()

    asyncio.run(block())
    assert len(ended) == 1
    assert "in block" in capfd.readouterr().err  # the stack of who did it

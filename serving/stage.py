"""Work under a deadline: a breaker that stops asking what does not answer, and a few threads for what blocks.

A thread that is stuck in a model cannot be cancelled. So every stage has a bounded pool (stuck threads hurt nobody
else), callers stop waiting at their deadline, and after a few failures in a row nobody waits at all until one trial
call comes through.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from firstmile.errors import DependencyError

T = TypeVar("T")
Problem = Literal["late", "failed", "refused"]
log = logging.getLogger(__name__)

MAX_FAILURES = 5
FAILING_S = 0.5
"""A breaker must see failures over this long: on a busy machine five requests can be late within one short stall."""
COOL_DOWN_S = 0.5
MAX_WAITING = 256


class StageError(DependencyError):
    """A stage gave no result: it was late, it failed, or it was not asked because it kept failing."""

    def __init__(self, stage: str, problem: Problem, detail: str = "") -> None:
        super().__init__(f"{stage} {problem}{': ' if detail else ''}{detail}")
        self.problem: Problem = problem


@dataclass
class Breaker:
    """Opens after `max_failures` in a row, the first at least `failing_s` ago; then lets one trial call through every
    `cool_down_s`.

    Times are seconds of any one monotonic clock.

    >>> breaker = Breaker(max_failures=2, failing_s=0.5, cool_down_s=1.0)
    >>> breaker.failed(now_s=0.0); breaker.failed(now_s=0.5)
    >>> breaker.allows(now_s=0.6), breaker.allows(now_s=1.5), breaker.allows(now_s=1.6)
    (False, True, False)
    >>> breaker.succeeded(); breaker.allows(now_s=1.7)
    True
    """

    max_failures: int = MAX_FAILURES
    failing_s: float = FAILING_S
    cool_down_s: float = COOL_DOWN_S
    n_failures: int = 0
    _first_s: float = field(default=0.0, init=False)
    _retry_s: float = field(default=0.0, init=False)

    def allows(self, *, now_s: float) -> bool:
        """Whether to ask now; a yes while open is the trial call of this cool-down."""
        if self.n_failures < self.max_failures or now_s - self._first_s < self.failing_s:
            return True
        if now_s < self._retry_s:
            return False
        self._retry_s = now_s + self.cool_down_s
        return True

    def succeeded(self) -> None:
        """It answered: closed again."""
        self.n_failures = 0

    def failed(self, *, now_s: float) -> None:
        """It did not answer."""
        if not self.n_failures:
            self._first_s = now_s
        self.n_failures += 1
        self._retry_s = now_s + self.cool_down_s


class Bounded:
    """Waits for what others do: never longer than asked, and not at all while it keeps failing. For one event loop."""

    def __init__(self, name: str, *, breaker: Breaker | None = None) -> None:
        self.name = name
        self.breaker = breaker or Breaker()
        self._n_waiting = 0

    async def within(self, begin: Callable[["asyncio.Future[T]"], None], *, timeout_s: float) -> T:
        """What comes into the future that `begin` is given. Raises StageError when it does not within `timeout_s`."""
        if timeout_s <= 0:
            raise StageError(self.name, "late", "no time was left")
        if self._n_waiting >= MAX_WAITING or not self.breaker.allows(now_s=time.monotonic()):
            raise StageError(self.name, "refused")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._n_waiting += 1
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                begin(future)
                result = await future
        except Exception as error:  # the edge between our answer and a dependency's fault, whatever it is
            self.breaker.failed(now_s=time.monotonic())
            if deadline.expired():
                raise StageError(self.name, "late", f"no result within {timeout_s * 1000:.0f} ms") from None
            log.warning("%s failed: %s: %s", self.name, type(error).__name__, error)
            raise StageError(self.name, "failed", repr(error)) from error
        finally:
            self._n_waiting -= 1
        self.breaker.succeeded()
        return result


class Stage(Bounded):
    """Runs blocking calls in a few threads of its own, never longer than asked. Used from one event loop."""

    def __init__(self, name: str, *, n_threads: int, breaker: Breaker | None = None) -> None:
        super().__init__(name, breaker=breaker)
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix=name)

    async def run(self, work: Callable[[], T], *, timeout_s: float) -> T:
        """The work's result within `timeout_s`. Raises StageError otherwise."""
        loop = asyncio.get_running_loop()

        def begin(waiting: "asyncio.Future[T]") -> None:
            def ended(call: "Future[T]") -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_settle, waiting, call)

            call = self._pool.submit(work)
            call.add_done_callback(ended)
            waiting.add_done_callback(lambda _: call.cancel())  # who gave up needs no thread any more

        return await self.within(begin, timeout_s=timeout_s)

    def close(self) -> None:
        """Start no more work; does not wait for threads that are stuck."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _settle(waiting: "asyncio.Future[T]", call: "Future[T]") -> None:
    """Tell who waits what a call that has ended has come to, if anybody still waits."""
    if waiting.done() or call.cancelled():
        return
    error = call.exception()
    if error is None:
        waiting.set_result(call.result())
    else:
        waiting.set_exception(error)

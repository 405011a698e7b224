"""One blocking call for all who wait: what costs by the call and little by the user is done for many users at once.

While one call runs, those who come wait together; the next call takes all of them. A lone request waits for nobody,
and the busier the worker, the less each of them costs.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

from serving.stage import Breaker, Stage

K = TypeVar("K")
T = TypeVar("T")

OVERDUE_S: Final = 0.03
"""A call that takes longer is taken to be stuck: those who wait go on without it, in another thread."""
MAX_TOGETHER: Final = 32


class Gather(Stage, Generic[K, T]):
    """A stage that answers many keys by one call. Used from one event loop.

    work
        Results of keys, in their order.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[K]], Sequence[T]],
        *,
        n_threads: int,
        breaker: Breaker | None = None,
    ) -> None:
        super().__init__(name, n_threads=n_threads, breaker=breaker)
        self._work = work
        self._waiting: list[tuple[K, Future[T]]] = []
        self._begun_s: dict[Future[Sequence[T]], float] = {}
        self._again: asyncio.TimerHandle | None = None

    async def ask(self, key: K, *, timeout_s: float) -> T:
        """The result of one key within `timeout_s`. Raises StageError otherwise."""
        loop = asyncio.get_running_loop()

        def begin() -> Future[T]:
            future: Future[T] = Future()
            self._waiting.append((key, future))
            self._call(loop)
            return future

        return await self._within(begin, timeout_s=timeout_s)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a call for those who wait, unless one is under way that will end soon."""
        self._waiting = [(k, f) for k, f in self._waiting if not f.done()]  # some gave up
        if not self._waiting:
            return
        newest_s = max(self._begun_s.values(), default=-OVERDUE_S)
        early_s = newest_s + OVERDUE_S - time.monotonic() if self._begun_s else 0.0
        if early_s > 0:
            if self._again is not None:
                self._again.cancel()
            self._again = loop.call_later(early_s, self._call, loop)
            return
        now, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
        call = self._pool.submit(self._work, [key for key, _ in now])
        self._begun_s[call] = time.monotonic()

        def ended(_: object) -> None:
            del self._begun_s[call]
            _hand_on(call, [future for _, future in now])
            self._call(loop)

        call.add_done_callback(lambda done: _on(loop, ended, done))


def _on(loop: asyncio.AbstractEventLoop, ended: Callable[[object], None], done: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(ended, done)


def _hand_on(call: "Future[Sequence[T]]", waiting: Sequence["Future[T]"]) -> None:
    error = None if call.cancelled() else call.exception()
    for i, future in enumerate(waiting):
        if future.cancelled() or not future.set_running_or_notify_cancel():
            continue
        if error is not None:
            future.set_exception(error)
        elif call.cancelled():
            future.set_exception(RuntimeError("the stage was closed"))
        else:
            future.set_result(call.result()[i])

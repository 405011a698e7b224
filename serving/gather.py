"""One call for all who wait: what costs by the call and little by the user is done for many users at once.

While one call is under way, those who come wait together; the next call takes all of them. A lone request waits for
nobody, and the busier the worker, the less each of them costs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from serving.stage import Bounded, Breaker

K = TypeVar("K")
T = TypeVar("T")

OVERDUE_S: Final = 0.03
"""A call that takes longer is taken to be stuck: those who wait go on without it, by another call."""
MAX_TOGETHER: Final = 32


class Gather(Bounded, Generic[K, T]):
    """A stage that answers many keys by one call. Used from one event loop.

    work
        Results of keys, in their order.
    """

    def __init__(
        self, name: str, work: Callable[[Sequence[K]], Awaitable[Sequence[T]]], *, breaker: Breaker | None = None
    ) -> None:
        super().__init__(name, breaker=breaker)
        self._work = work
        self._waiting: list[tuple[K, asyncio.Future[T]]] = []
        self._begun_s: dict[asyncio.Future[Sequence[T]], float] = {}
        self._again: asyncio.TimerHandle | None = None

    async def ask(self, key: K, *, timeout_s: float) -> T:
        """The result of one key within `timeout_s`. Raises StageError otherwise."""

        def begin(waiting: "asyncio.Future[T]") -> None:
            self._waiting.append((key, waiting))
            self._call()

        return await self.within(begin, timeout_s=timeout_s)

    def _call(self) -> None:
        """Begin a call for those who wait, unless one is under way that will end soon."""
        self._waiting = [(k, f) for k, f in self._waiting if not f.done()]  # some gave up
        if not self._waiting:
            return
        now_s = time.monotonic()
        early_s = max(self._begun_s.values()) + OVERDUE_S - now_s if self._begun_s else 0.0
        if early_s > 0:
            if self._again is not None:
                self._again.cancel()
            self._again = asyncio.get_running_loop().call_later(early_s, self._call)
            return
        now, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]

        def ended(call: "asyncio.Future[Sequence[T]]") -> None:
            self._begun_s.pop(call, None)
            _hand_on(call, [waiting for _, waiting in now])
            self._call()

        self._begun_s[call := asyncio.ensure_future(self._work([key for key, _ in now]))] = now_s
        call.add_done_callback(ended)


def _hand_on(call: "asyncio.Future[Sequence[T]]", waiting: Sequence["asyncio.Future[T]"]) -> None:
    """Each his result, or all the error, if they still wait."""
    if call.cancelled():
        return
    error = call.exception()
    for i, future in enumerate(waiting):
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(call.result()[i])

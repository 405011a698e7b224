"""How late the event loop is: a beat every few milliseconds, by which the loop is judged from inside and outside it."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

INTERVAL_S: Final = 0.01


class Heartbeat:
    """Beats from the loop it was started on; any thread may look at it. Before its start the loop is not late.

    now_s
        A monotonic clock, seconds.
    """

    def __init__(self, *, interval_s: float = INTERVAL_S, now_s: Callable[[], float] = time.perf_counter) -> None:
        self.n_beats = 0
        self._on_beat: Callable[[float], None] = lambda late_s: None
        self._interval_s = interval_s
        self._now_s = now_s
        self._next_s: float | None = None
        self._late_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, on_beat: Callable[[float], None] = lambda late_s: None) -> None:
        """Beat on this loop from now on; `on_beat` is told every beat's lateness, seconds >= 0."""
        self._on_beat = on_beat
        self._next_s = self._now_s() + self._interval_s
        self._timer = loop.call_later(self._interval_s, self._beat, loop)

    def stop(self) -> None:
        """Beat no longer; the loop is not late any more."""
        self._next_s, self._late_s = None, 0.0
        if self._timer is not None:
            self._timer.cancel()

    def lag_ms(self) -> float:
        """How late the loop is, ms >= 0: the last beat's lateness, or the next one's if that is overdue by more.

        A loop takes up what is ready in one round, beats and requests alike: a request sees the queue it stood in
        itself, not only the queue of those before it.
        """
        next_s = self._next_s
        return 0.0 if next_s is None else max(self._late_s, self._now_s() - next_s, 0.0) * 1_000

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._next_s is None:
            return
        now_s = self._now_s()
        self._late_s = max(now_s - self._next_s, 0.0)
        self.n_beats += 1
        self._on_beat(self._late_s)
        self._next_s = now_s + self._interval_s
        self._timer = loop.call_later(self._interval_s, self._beat, loop)

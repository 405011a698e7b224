"""How long the steps of one batch took: laps of one clock, so that nothing of the batch stays unmeasured."""

import time


class StepTimer:
    """Seconds by step. A step lasts from the lap before it to its own; a step that comes again adds up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = self._lap = time.perf_counter()

    def restart(self) -> None:
        """Begin a batch."""
        self.seconds = {}
        self._started = self._lap = time.perf_counter()

    def lap(self, step: str) -> None:
        """End a step.

        >>> timer = StepTimer()
        >>> timer.lap("check"), timer.lap("fold"), timer.lap("fold")
        (None, None, None)
        >>> list(timer.seconds), timer.total_s >= timer.seconds["check"] >= 0
        (['check', 'fold'], True)
        """
        now = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._lap
        self._lap = now

    @property
    def total_s(self) -> float:
        """From the batch's begin to its last lap."""
        return self._lap - self._started

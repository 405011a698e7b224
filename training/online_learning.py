"""The loop: read, join, ask, teach, and now and then a snapshot. Where it is stopped does not matter."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from training.online_snapshot import write_snapshot
from training.online_state import Batch, State

log = logging.getLogger(__name__)


class Log(Protocol):
    """Where batches come from: Kafka, or a list."""

    def read(self) -> Batch:
        """The next records; empty when there are none now."""
        ...


class Learning:
    """A state, and what moves it on.

    after
        Called with the name of each step that was done: read, joined, learned (per example), written, replaced.
    """

    def __init__(self, state: State, source: Log, file: Path, *, after: Callable[[str], None] = lambda _: None) -> None:
        self.state = state
        self._source, self._file, self._after = source, file, after

    def step(self) -> int:
        """Read once and learn what closes; how many examples that was."""
        batch = self._source.read()
        self._after("read")
        examples = self.state.join(batch)
        self._after("joined")
        for example in examples:
            for name, drift in self.state.learn(example).items():
                say = log.warning if drift.is_worse else log.info
                say(
                    "the mean error of %s went from %.3f to %.3f, seen at example %s",
                    name,
                    drift.before,
                    drift.since,
                    self.state.n_learned,
                )
            self._after("learned")
        return len(examples)

    def snapshot(self) -> None:
        """Write the state down."""
        write_snapshot(self._file, self.state, after=self._after)

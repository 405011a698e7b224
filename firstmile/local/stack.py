"""The embedded stack as one thing: start it, stop it, say how it is."""

import fcntl
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from firstmile.local import kafka, mlflow, ports, process, redis, registry
from firstmile.local.part import EmbeddedPart, log_file
from firstmile.local.process import Supervised
from firstmile.settings import PARTS, Part, Settings

log = logging.getLogger(__name__)

# In the order they are started: the slowest first.
_KNOWN: dict[Part, EmbeddedPart] = {p.name: p for p in (mlflow.PART, registry.PART, kafka.PART, redis.PART)}


SETTLE_S = 1.0
"""A killed process takes a moment to be gone, a large one some tenths of a second."""


@dataclass(frozen=True)
class PartState:
    """One part now. `is_ours`: run by `up`; else its address was given and it is only asked."""

    name: Part
    is_ours: bool
    address: str
    is_healthy: bool
    problem: str | None
    pid: int | None
    data: str | None
    log: str | None


class Stack:
    """The parts of one home folder.

    with_parent
        The parts end when this process ends, however it ends; for demos and tests.
    """

    def __init__(self, settings: Settings, *, with_parent: bool = False) -> None:
        self.settings = settings
        self.run_folder = settings.home / "run"
        self._with_parent = with_parent

    def up(self, parts: Sequence[Part] | None = None) -> list[PartState]:
        """Start what does not run, side by side, and wait until all are healthy; safe to run again.

        Raises ConflictError when a port is taken and DependencyError when a part dies or stays silent; what this call
        had started is stopped again then.
        """
        wanted = [_KNOWN[name] for name in _KNOWN if parts is None or name in parts]
        with self._only_one():
            started: list[str] = []
            try:
                self._start_and_wait(wanted, started)
            except BaseException:
                process.stop(self.run_folder, started)
                raise
        return self.status([p.name for p in wanted])

    def down(self, parts: Sequence[Part] | None = None) -> list[str]:
        """Stop the parts that run; returns their names."""
        with self._only_one():
            return process.stop(self.run_folder, list(parts or PARTS))

    def status(self, parts: Sequence[Part] | None = None) -> list[PartState]:
        """Every part as it is now."""
        return [self._state(_KNOWN[name]) for name in PARTS if parts is None or name in parts]

    def _state(self, part: EmbeddedPart) -> PartState:
        settings = self.settings
        is_ours = settings.is_embedded(part.name)
        running = process.find(self.run_folder, part.name) if is_ours else None
        problem = part.problem(settings)
        if is_ours and running is None:
            problem = self._why_not_running(part)
        return PartState(
            name=part.name,
            is_ours=is_ours,
            address=part.address(settings),
            is_healthy=problem is None,
            problem=problem,
            pid=running.pid if running else None,
            data=str(settings.home / "data" / part.name) if is_ours else None,
            log=str(log_file(settings, part.name)) if is_ours else None,
        )

    def _why_not_running(self, part: EmbeddedPart) -> str:
        if process.was_started(self.run_folder, part.name):
            return "it died; `firstmile up` starts it again on its data, its log says why"
        foreign = [f"{p} is held by {ports.holder(p)}" for _, p in part.ports(self.settings) if not ports.is_free(p)]
        return "not started" + (f", and port {'; port '.join(foreign)}" if foreign else "")

    def _start_and_wait(self, wanted: list[EmbeddedPart], started: list[str]) -> None:
        running: dict[str, Supervised | None] = {}
        for part in wanted:
            if self.settings.is_embedded(part.name):
                running[part.name] = self._settled(part)
        to_start = [p for p in wanted if p.name in running and running[p.name] is None]
        self._require_ports(to_start)
        programs = [(p.name, p.program(self.settings)) for p in to_start]
        began = time.monotonic()
        for name, program in programs:
            started.append(name)
            running[name] = process.start(program, self.run_folder, with_parent=self._with_parent)
        waiting = {p.name: (running.get(p.name), _probe(p, self.settings)) for p in wanted}

        def say(name: str) -> None:
            found = running.get(name)
            how = f"up after {time.monotonic() - began:.1f} s" if name in started else "was up"
            where = f"pid {found.pid}, log {found.log}" if found else f"given by {_KNOWN[_part(name)].setting}"
            log.info("%-8s %s: %s, %s", name, _KNOWN[_part(name)].address(self.settings), how, where)

        process.wait_healthy(waiting, deadline_s=self.settings.local.start_timeout_s, on_healthy=say)

    def _settled(self, part: EmbeddedPart) -> Supervised | None:
        """The part's process if it runs; one that was killed this very moment still looks as if it did."""
        found, until = process.find(self.run_folder, part.name), time.monotonic() + SETTLE_S
        while found and found.is_alive() and part.problem(self.settings) and time.monotonic() < until:
            time.sleep(process.POLL_S)
        return found if found and found.is_alive() else None

    def _require_ports(self, to_start: list[EmbeddedPart]) -> None:
        for part in to_start:
            process.end_leftovers(self.run_folder, part.name)
        ports.require_free(pair for part in to_start for pair in part.ports(self.settings))

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Two `up` of one home would start everything twice: the second waits."""
        self.run_folder.mkdir(parents=True, exist_ok=True)
        with _lock(self.run_folder / ".lock"):
            yield


def parts_of(settings: Settings) -> list[EmbeddedPart]:
    """Every part that runs here, for who starts them on its own."""
    return [part for part in _KNOWN.values() if settings.is_embedded(part.name)]


def ports_of(part: Part, settings: Settings) -> list[tuple[str, int]]:
    """(name of the setting, port) of every port an embedded part listens on."""
    return _KNOWN[part].ports(settings)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _probe(part: EmbeddedPart, settings: Settings) -> "process.Probe":
    return lambda: part.problem(settings)


def _part(name: str) -> Part:
    return next(p for p in PARTS if p == name)

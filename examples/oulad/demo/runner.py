"""The demo's jobs: each starts when what it needs is there; every one is a process with a log of its own.

A job either ends (a verb that prints a result) or stays (a service, ready when its probe says so). All are started
from the calling thread, whose end ends them.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from firstmile.cli import console
from firstmile.errors import FirstmileError
from firstmile.local import process
from firstmile.local.process import Probe, Program, Supervised
from firstmile.settings import Settings

TICK_S = 0.05
SAY_S = 15.0


class BrokenHopError(FirstmileError):
    """A hop of the demo did not work; `hop` is its name."""

    def __init__(self, hop: str, what: str, *, log: str, remedy: str) -> None:
        super().__init__(f"hop {hop} is broken: {what}. Log: {log}. Remedy: {remedy}")
        self.hop = hop


@dataclass(frozen=True)
class Job:
    """One process of the demo.

    probe
        A service's: None once it can work. A verb has none and is done when it exits 0.
    says
        A verb's result as a line for people.
    remedy
        What to do when it breaks.
    """

    name: str
    program: Callable[[Settings], Program]
    needs: tuple[str, ...] = ()
    probe: Probe | None = None
    says: Callable[[dict[str, Any]], str] = lambda result: ""
    remedy: str = "read the log, then run the demo again; `firstmile doctor` checks the machine"

    @property
    def stays(self) -> bool:
        """Whether it is a service."""
        return self.probe is not None


@dataclass
class _Running:
    job: Job
    found: Supervised
    program: Program
    since: float


@dataclass
class Runner:
    """Starts jobs in their order, notices what breaks, remembers what verbs printed and how long all took."""

    settings: Settings
    jobs: dict[str, Job]
    began: float = field(default_factory=time.monotonic)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)
    services: dict[str, Supervised] = field(default_factory=dict)
    _running: dict[str, _Running] = field(default_factory=dict)
    _wanted: list[str] = field(default_factory=list)
    _said: float = 0.0

    def say(self, who: str, what: str) -> None:
        """One line of progress, with the seconds since the start."""
        console.print(
            f"[dim]{time.monotonic() - self.began:6.1f} s[/] {who:<18} {what}", soft_wrap=True, highlight=False
        )

    def want(self, names: Iterable[str]) -> None:
        """Start these jobs as soon as what they need is there."""
        known = {*self._wanted, *self._running, *self.took_s}
        self._wanted += [name for name in names if name not in known]

    def until(self, names: Iterable[str]) -> None:
        """Run until these jobs are done or ready. Raises BrokenHopError for the first that breaks."""
        names = list(names)
        self.want(names)
        while not all(name in self.took_s for name in names):
            self.tick()
            self._say_waiting()
            time.sleep(TICK_S)

    def wait_for(self, hop: str, ask: Callable[[], str | None], *, deadline_s: float, every_s: float = 0.2) -> float:
        """Poll until `ask` returns None, jobs going on meanwhile; returns the seconds it took.

        Raises BrokenHopError with what `ask` said last at the deadline.
        """
        began = time.monotonic()
        while (problem := ask()) is not None:
            if time.monotonic() - began > deadline_s:
                remedy = "a slower machine needs more time: close what else runs; else read the logs"
                logs = str(self.settings.logs)
                raise BrokenHopError(hop, f"{problem}, after {deadline_s:.0f} s", log=logs, remedy=remedy)
            self.tick()
            time.sleep(every_s)
        return time.monotonic() - began

    def tick(self) -> None:
        """Start what can start, take note of what ended. Raises BrokenHopError."""
        self._start_those_ready()
        for running in list(self._running.values()):
            self._look(running)
        for name, found in self.services.items():
            if not found.is_alive():
                raise self._broken(self.jobs[name], found, f"it died{how_it_ended(found)}")

    def tick_gently(self) -> None:
        """As `tick`, but a verb that failed is said, not raised, and services are somebody else's to watch."""
        self._start_those_ready()
        for running in list(self._running.values()):
            try:
                self._look(running)
            except BrokenHopError as error:
                del self._running[running.job.name]
                self.say(running.job.name, f"[bold red]ended[/]: {error}")

    def _start_those_ready(self) -> None:
        for name in list(self._wanted):
            job = self.jobs[name]
            if all(need in self.took_s for need in job.needs):
                self._wanted.remove(name)
                self._start(job)

    def stop(self) -> None:
        """End everything: verbs and services first, then the parts they use."""
        run_folder = self.settings.home / "run"
        parts = [name for name in process.recorded(run_folder) if name in ("kafka", "registry", "redis", "mlflow")]
        process.stop(run_folder, [n for n in process.recorded(run_folder) if n not in parts])
        process.stop(run_folder, parts)

    def _start(self, job: Job) -> None:
        program = job.program(self.settings)
        found = process.start(program, self.settings.home / "run", with_parent=True)
        self._running[job.name] = _Running(job, found, program, time.monotonic())

    def _look(self, running: _Running) -> None:
        job, found = running.job, running.found
        if job.probe is not None:
            if job.probe() is None:
                self._done(running, f"ready, pid {found.pid}, log {found.log}")
                self.services[job.name] = found
            elif not found.is_alive():
                raise self._broken(job, found, f"it died while starting{how_it_ended(found)}")
        elif not found.is_alive():
            if found.child is not None and found.child.returncode:
                raise self._broken(job, found, f"it failed{how_it_ended(found)}")
            self.results[job.name] = read_result(running.program)
            self._done(running, job.says(self.results[job.name]))
            process.stop(self.settings.home / "run", [job.name])

    def _done(self, running: _Running, what: str) -> None:
        name = running.job.name
        self.took_s[name] = round(time.monotonic() - running.since, 1)
        self.say(name, f"{what} [dim]({self.took_s[name]:.1f} s)[/]")
        del self._running[name]

    def _say_waiting(self) -> None:
        now = time.monotonic()
        last = max([self._said, *(r.since for r in self._running.values())])
        if self._running and now - last > SAY_S:
            self._said = now
            busy = ", ".join(f"{n} ({now - r.since:.0f} s)" for n, r in self._running.items())
            self.say("…", f"[dim]at work: {busy}[/]")

    def _broken(self, job: Job, found: Supervised, what: str) -> BrokenHopError:
        console.print(process.log_tail(found.log), soft_wrap=True, highlight=False, markup=False)
        return BrokenHopError(job.name, what, log=str(found.log), remedy=job.remedy)


def how_it_ended(found: Supervised) -> str:
    """How a child of ours ended, as the end of a sentence: ` (killed by signal 9)`."""
    code = found.child.returncode if found.child is not None else None
    if code is None:
        return ""
    return f" (killed by signal {-code})" if code < 0 else f" (exit {code})"


def read_result(program: Program) -> dict[str, Any]:
    """What a verb printed; empty when it prints none."""
    text = program.output.read_bytes().strip() if program.output else b""
    if not text.startswith(b"{"):
        return {}
    result: dict[str, Any] = orjson.loads(text)
    return result

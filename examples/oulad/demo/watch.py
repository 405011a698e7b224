"""The demo after it is up: says which process died and what that means, and brings the decision API back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from examples.oulad.demo.runner import Job, Runner, how_it_ended
from firstmile.errors import FirstmileError
from firstmile.local import process
from firstmile.local.process import Supervised

WATCH_S = 0.2
WORKER_S = 5.0
"""A process younger than this is a passing helper of the service's, not one of its workers."""
RESTARTED = ("serve", "standby")

PARTS = "firstmile up"
MEANING = {
    "kafka": (
        "no event comes in (the collector answers 503), decisions wait on disk; answers go on from the rows there are",
        PARTS,
    ),
    "registry": (
        "running processes know their schemas and go on; none that needs one can start, no new one can be read",
        PARTS,
    ),
    "redis": (
        "no row can be read: the API answers from its last good answers, then by rules; the stream stops",
        PARTS,
    ),
    "mlflow": ("the models in use stay in use; none can be trained, promoted or browsed", PARTS),
    "stream": (
        "rows stay as they are: answers go on, blind to what happens now, and past the lag budget they say so",
        "firstmile stream",
    ),
    "archive": ("enriched events wait in Kafka, none reaches the lake; answers are as before", "firstmile archive"),
    "collect": ("clients cannot send events (connection refused); answers go on, blind to them", "firstmile collect"),
    "serve": ("the standby answers in its place; starting it again now", ""),
    "standby": ("nothing for now: it answers when serve does not; starting it again now", ""),
    "replay": ("today's events of the replayed learners stop; everything else goes on", ""),
}


@dataclass
class Watcher:
    """Looks at the services of a runner, and at the processes they started."""

    runner: Runner
    environment: Path
    _dead: set[str] = field(default_factory=set)
    _workers: dict[str, dict[int, str]] = field(default_factory=dict)

    def watch(self, is_over: Callable[[], bool]) -> None:
        """Until it is over."""
        while not is_over():
            for name, found in list(self.runner.services.items()):
                self._look(name, found)
            self.runner.tick_gently()
            time.sleep(WATCH_S)

    def _look(self, name: str, found: Supervised) -> None:
        if name in self._dead:
            self._look_for_return(name)
        elif found.is_alive():
            self._look_at_workers(name, found)
        else:
            self._dead.add(name)
            self._workers.pop(name, None)
            self._say_died(name, found)
            if name in RESTARTED:
                self._restart(self.runner.jobs[name])

    def _say_died(self, name: str, found: Supervised) -> None:
        meaning, verb = MEANING[name]
        back = f" Bring it back: . {self.environment} && {verb}." if verb else ""
        died = f"[bold red]died[/]: pid {found.pid}{how_it_ended(found)}"
        self.runner.say(name, f"{died}. It means: {meaning}.{back} Log: {found.log}")

    def _look_at_workers(self, name: str, found: Supervised) -> None:
        """A service's own processes: it starts them again itself, or dies with them."""
        try:
            children = psutil.Process(found.pid).children(recursive=True)
            now = {c.pid: c.name() for c in children if time.time() - c.create_time() >= WORKER_S}
        except psutil.Error:
            return
        for pid, program in self._workers.get(name, {}).items():
            if pid not in now:
                self.runner.say(name, f"[red]a process of it ended[/]: pid {pid} ({program}); {name} itself runs on")
        self._workers[name] = now

    def _look_for_return(self, name: str) -> None:
        """Started again here or from another shell: either leaves a record."""
        found = process.find(self.runner.settings.home / "run", name)
        probe = self.runner.jobs[name].probe
        if found is not None and probe is not None and probe() is None:
            self._dead.discard(name)
            self.runner.services[name] = found
            self.runner.say(name, f"[green]is back[/]: pid {found.pid}")

    def _restart(self, job: Job) -> None:
        try:
            program = job.program(self.runner.settings)
            process.start(program, self.runner.settings.home / "run", with_parent=True)
        except FirstmileError as error:
            self.runner.say(job.name, f"[bold red]did not start again[/]: {error}")

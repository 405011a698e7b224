"""Processes this project starts: each in its own session, with a log file and a record of who it is.

A record names pid and start time, so a pid that was given to somebody else is never taken for ours. Every process
also carries a mark in its environment, inherited by what it starts: what a killed leader leaves behind is found by it.
"""

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from firstmile.errors import DependencyError

Probe = Callable[[], str | None]
"""Asks whether something works: None, or what is wrong as text."""

MARK = "SUPERVISED_AS"
POLL_S = 0.05
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """What to run: `environment` is added to our own, `log` gets both output streams, or `output` gets stdout."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    output: Path | None = None


@dataclass
class Supervised:
    """A process of ours, started here or found by its record."""

    name: str
    pid: int
    started: float
    log: Path
    mark: str
    child: "subprocess.Popen[bytes] | None" = None

    def is_alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        if self.child is not None:
            return self.child.poll() is None
        return _is_same(self.pid, self.started)


def start(program: Program, run_folder: Path, *, with_parent: bool = False) -> Supervised:
    """Start a program and record it under `run_folder`; what an earlier one of this name left is ended first.

    with_parent
        End it (SIGTERM) when the calling thread's process dies, however that happens. Linux only.

    Raises DependencyError when the program is not installed.
    """
    mark = _mark(run_folder, program.name)
    end_leftovers(run_folder, program.name)
    run_folder.mkdir(parents=True, exist_ok=True)
    program.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with program.log.open("ab") as log, (program.output or program.log).open("ab") as output:
            child = subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                cwd=program.folder,
                env={**os.environ, **program.environment, MARK: mark},
                start_new_session=True,
                preexec_fn=die_with_parent() if with_parent else None,
            )
    except FileNotFoundError as error:
        raise DependencyError(
            f"{program.name} could not start: {error.filename} was not found; `firstmile doctor` says what to install"
        ) from None
    started = psutil.Process(child.pid).create_time()
    record = {"pid": child.pid, "started": started, "log": str(program.log), "command": list(program.command)}
    path = _record(run_folder, program.name)
    path.with_suffix(".tmp").write_text(json.dumps(record))
    path.with_suffix(".tmp").replace(path)
    return Supervised(program.name, child.pid, started, program.log, mark, child)


def find(run_folder: Path, name: str) -> Supervised | None:
    """The recorded process of this name if it still runs."""
    try:
        record = json.loads(_record(run_folder, name).read_text())
    except FileNotFoundError:
        return None
    found = Supervised(name, record["pid"], record["started"], Path(record["log"]), _mark(run_folder, name))
    return found if found.is_alive() else None


def recorded(run_folder: Path) -> list[str]:
    """Names of every process started and not stopped by us, alive or not."""
    return sorted(path.stem for path in run_folder.glob("*.json"))


def was_started(run_folder: Path, name: str) -> bool:
    """Whether a process of this name was started and never stopped by us: not alive then means it died."""
    return _record(run_folder, name).exists()


def stop(run_folder: Path, names: Sequence[str], *, deadline_s: float = 20.0) -> list[str]:
    """End these processes together: SIGTERM, then SIGKILL at the deadline; returns the names of those that ran."""
    running = [p for p in (find(run_folder, n) for n in names) if p is not None]
    for process in running:
        _signal(process.pid, signal.SIGTERM)
    _wait(running, deadline_s)
    for process in running:
        if process.is_alive():
            _signal(process.pid, signal.SIGKILL)
    _wait(running, 5.0)
    for name in names:
        end_leftovers(run_folder, name)
        _record(run_folder, name).unlink(missing_ok=True)
    return [p.name for p in running]


def end_leftovers(run_folder: Path, name: str) -> None:
    """End every process that carries this name's mark: workers that outlived a killed leader."""
    marked = list(_marked(_mark(run_folder, name)))
    for process in marked:
        _signal(process.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(marked, timeout=3)
    for process in alive:
        _signal(process.pid, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=3)


def wait_healthy(
    waiting: Mapping[Any, tuple[Supervised | None, Probe]],
    *,
    deadline_s: float,
    on_healthy: Callable[[str], None] = lambda name: None,
) -> None:
    """Poll every probe until all are content; no process given: somebody else runs it.

    Raises DependencyError with the log's last lines when a process dies or the deadline passes.
    """
    end = time.monotonic() + deadline_s
    left = dict(waiting)
    while left:
        for name, (process, probe) in list(left.items()):
            problem = probe()
            if problem is None:
                del left[name]
                on_healthy(name)
            elif process is not None and not process.is_alive():
                raise DependencyError(f"{name} died while starting; {log_tail(process.log)}")
            elif time.monotonic() > end:
                where = log_tail(process.log) if process else "it is not run by us: check its address in the settings"
                raise DependencyError(f"{name} did not become healthy within {deadline_s:.0f} s: {problem}; {where}")
        if left:
            time.sleep(POLL_S)


def is_ours(run_folder: Path, pid: int) -> bool:
    """Whether a process was started from this run folder, by us or by one of ours."""
    try:
        return psutil.Process(pid).environ().get(MARK, "").startswith(f"{run_folder.absolute()}/")
    except psutil.Error:
        return False


def log_tail(log: Path, n_lines: int = 15) -> str:
    """The log's path and last lines, for a message."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-n_lines:]
    except FileNotFoundError:
        return f"there is no log {log}"
    return f"the end of {log}:\n  " + "\n  ".join(lines)


def die_with_parent(how: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """For Popen's preexec_fn: the kernel sends the child `how` when the thread that starts it ends. None off Linux."""
    if not os.path.exists("/proc/self"):
        return None
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(how))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return arrange


def _record(run_folder: Path, name: str) -> Path:
    return run_folder / f"{name}.json"


def _mark(run_folder: Path, name: str) -> str:
    return f"{run_folder.absolute()}/{name}"


def _marked(mark: str) -> Iterable[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                yield process
        except psutil.Error:
            continue


def _is_same(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # Whole clock ticks of 10 ms: the boot time it is counted from may move by a fraction.
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(pid: int, which: signal.Signals) -> None:
    try:
        os.kill(pid, which)
    except ProcessLookupError:
        return


def _wait(processes: Iterable[Supervised], deadline_s: float) -> None:
    end = time.monotonic() + deadline_s
    while any(p.is_alive() for p in processes) and time.monotonic() < end:
        time.sleep(POLL_S)

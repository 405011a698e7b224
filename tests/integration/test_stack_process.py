"""Supervision: what is recorded, what is ended, what a killed process leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from firstmile.errors import DependencyError
from firstmile.local import process
from firstmile.local.process import Program

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]
IGNORE = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
DEAF = [sys.executable, "-c", IGNORE]
WITH_WORKER = [sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEP!r}).wait()"]


@pytest.fixture
def run_folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "run"
    yield folder
    process.stop(folder, process.recorded(folder), deadline_s=1)


def program(tmp_path: Path, command: list[str], name: str = "probe") -> Program:
    return Program(name, command, tmp_path / f"{name}.log")


def until(condition: Callable[[], object], deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)


def test_started_process_is_found_by_its_record_until_stopped(tmp_path: Path, run_folder: Path) -> None:
    started = process.start(program(tmp_path, SLEEP), run_folder)
    found = process.find(run_folder, "probe")
    assert found is not None
    assert found.pid == started.pid
    assert process.stop(run_folder, ["probe"]) == ["probe"]
    assert process.find(run_folder, "probe") is None
    assert not process.was_started(run_folder, "probe")
    assert not started.is_alive()


def test_process_that_ignores_sigterm_is_killed_at_the_deadline(tmp_path: Path, run_folder: Path) -> None:
    started = process.start(program(tmp_path, DEAF), run_folder)
    until(lambda: "deaf" in started.log.read_text())
    process.stop(run_folder, ["probe"], deadline_s=0.5)
    assert not started.is_alive()
    assert started.child is not None
    assert started.child.returncode == -signal.SIGKILL


def test_a_pid_given_to_somebody_else_is_not_taken_for_ours(tmp_path: Path, run_folder: Path) -> None:
    run_folder.mkdir()
    stranger = psutil.Process(os.getpid())
    record = {
        "pid": stranger.pid,
        "started": stranger.create_time() - 3600,
        "log": str(tmp_path / "x.log"),
        "command": [],
    }
    (run_folder / "probe.json").write_text(json.dumps(record))
    assert process.find(run_folder, "probe") is None
    assert process.was_started(run_folder, "probe")
    assert process.stop(run_folder, ["probe"]) == []


def test_workers_of_a_killed_leader_are_ended_by_the_next_start(tmp_path: Path, run_folder: Path) -> None:
    leader = process.start(program(tmp_path, WITH_WORKER), run_folder)
    until(lambda: psutil.Process(leader.pid).children())
    (worker,) = psutil.Process(leader.pid).children()
    os.kill(leader.pid, signal.SIGKILL)
    until(lambda: not leader.is_alive())
    assert worker.is_running()
    process.start(program(tmp_path, SLEEP), run_folder)
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_process_ends_with_a_parent_that_is_killed(tmp_path: Path, run_folder: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from firstmile.local.process import Program, start
program = Program("probe", {SLEEP!r}, Path({str(tmp_path / "probe.log")!r}))
started = start(program, Path({str(run_folder)!r}), with_parent=True)
print(started.pid, flush=True)
time.sleep(300)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: process.find(run_folder, "probe") is None)


def test_death_while_starting_shows_the_end_of_the_log(tmp_path: Path, run_folder: Path) -> None:
    dying = process.start(program(tmp_path, [sys.executable, "-c", "raise SystemExit('no port for me')"]), run_folder)
    with pytest.raises(DependencyError, match="no port for me"):
        process.wait_healthy({"probe": (dying, lambda: "not yet")}, deadline_s=20)


def test_silence_past_the_deadline_says_what_the_probe_said(tmp_path: Path, run_folder: Path) -> None:
    silent = process.start(program(tmp_path, SLEEP), run_folder)
    with pytest.raises(DependencyError, match=r"probe did not become healthy within 0 s: still loading"):
        process.wait_healthy({"probe": (silent, lambda: "still loading")}, deadline_s=0.1)


def test_program_that_is_not_installed_is_named(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(DependencyError, match="no-such-server"):
        process.start(program(tmp_path, ["no-such-server"]), run_folder)

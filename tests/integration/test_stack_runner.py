"""The demo's runner on small programs: order, results, and what is said when one breaks."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import FreeSettings
from running import poll

from examples.oulad.demo.runner import BrokenHopError, Job, Runner
from examples.oulad.demo.watch import Watcher
from firstmile.local.part import log_file
from firstmile.local.process import Program
from firstmile.settings import Settings

SLEEP = "import time; time.sleep(300)"

MakeRunner = Callable[..., Runner]


def python(name: str, code: str) -> Callable[[Settings], Program]:
    def program(settings: Settings) -> Program:
        output = settings.logs / f"{name}.json"
        return Program(name, [sys.executable, "-c", code], log_file(settings, name), output=output)

    return program


@pytest.fixture
def make_runner(free_settings: FreeSettings) -> Iterator[MakeRunner]:
    runners: list[Runner] = []

    def make(*jobs: Job) -> Runner:
        runners.append(Runner(free_settings(), {job.name: job for job in jobs}))
        return runners[-1]

    yield make
    for runner in runners:
        runner.stop()


def test_a_job_starts_only_when_what_it_needs_is_done(make_runner: MakeRunner, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    first = Job("first", python("first", f"import time; time.sleep(0.5); open({str(mark)!r}, 'w')"))
    second = Job("second", python("second", f"open({str(mark)!r}); print('{{\"seen\": 1}}')"), ("first",))
    runner = make_runner(first, second)
    runner.want(["second", "first"])
    runner.until(["second"])
    assert runner.results["second"] == {"seen": 1}
    assert set(runner.took_s) == {"first", "second"}


def test_a_job_wanted_again_while_it_starts_is_started_once(make_runner: MakeRunner, tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('x'); {SLEEP}"
    answers = iter(["not yet", "not yet", "not yet", None])
    runner = make_runner(Job("api", python("api", code), probe=lambda: next(answers)))
    runner.want(["api"])
    runner.tick()
    runner.until(["api"])
    poll(lambda: count.exists() and count.read_text() == "x", what="one start")


def test_a_failing_verb_names_hop_log_and_remedy_and_shows_the_logs_end(
    make_runner: MakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = make_runner(Job("hop", python("hop", "raise SystemExit('no such table')"), remedy="bring the table"))
    with pytest.raises(BrokenHopError, match=r"hop hop is broken: it failed \(exit 1\)") as broken:
        runner.until(["hop"])
    assert str(runner.settings.logs / "hop.log") in str(broken.value)
    assert "bring the table" in str(broken.value)
    assert "no such table" in capsys.readouterr().err


def test_a_service_is_ready_when_its_probe_says_so_and_broken_when_it_dies(make_runner: MakeRunner) -> None:
    answers = iter(["not yet", "not yet", None])
    runner = make_runner(Job("api", python("api", SLEEP), probe=lambda: next(answers)))
    runner.until(["api"])
    runner.tick()
    os.kill(runner.services["api"].pid, signal.SIGKILL)
    runner.services["api"].child.wait()  # type: ignore[union-attr]
    with pytest.raises(BrokenHopError, match="killed by signal 9"):
        runner.tick()


def test_waiting_past_the_deadline_says_what_was_last_seen(make_runner: MakeRunner) -> None:
    runner = make_runner()
    with pytest.raises(BrokenHopError, match="7 records are not in the rows yet"):
        runner.wait_for("folded", lambda: "7 records are not in the rows yet", deadline_s=0.1, every_s=0.02)


def test_a_killed_copy_of_the_api_is_named_explained_and_started_again(
    make_runner: MakeRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = make_runner(Job("serve", python("serve", SLEEP), probe=lambda: None))
    runner.until(["serve"])
    killed = runner.services["serve"]
    os.kill(killed.pid, signal.SIGKILL)
    Watcher(runner, tmp_path / "env").watch(lambda: runner.services["serve"] is not killed)
    said = capsys.readouterr().err
    assert f"died: pid {killed.pid} (killed by signal 9). It means: the standby answers" in said
    assert f"is back: pid {runner.services['serve'].pid}" in said
    assert runner.services["serve"].is_alive()


def test_a_killed_part_is_named_with_the_way_to_bring_it_back(
    make_runner: MakeRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = make_runner(Job("redis", python("redis", SLEEP), probe=lambda: None))
    runner.until(["redis"])
    os.kill(runner.services["redis"].pid, signal.SIGKILL)
    text = ""

    def is_said() -> bool:
        nonlocal text
        text += capsys.readouterr().err
        return "died" in text

    Watcher(runner, tmp_path / "env").watch(is_said)
    assert "no row can be read" in text
    assert f". {tmp_path / 'env'} && firstmile up" in text

"""The decision log over a real Kafka that is killed and comes back, and out of a process that is killed and does not.

A stack of its own: the others' tests need their Kafka.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import settings_on_free_ports
from kafka_reading import end_offsets, records_since

from firstmile.local.process import die_with_parent
from firstmile.local.stack import Stack
from firstmile.names import DECISIONS
from firstmile.settings import Settings, as_environment
from pipelines.topics import ensure_topics
from serving.decisions import kafka_log
from serving.metrics import Metrics

WRITER = Path(__file__).parents[1] / "decision_writer.py"
KEPT_BEFORE_S = 1.0
"""A kill may cost what was decided within the last second."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    own = Stack(settings_on_free_ports(tmp_path_factory.mktemp("log") / "home"), with_parent=True)
    own.up(["kafka", "registry"])
    try:
        ensure_topics(own.settings)
        yield own
    finally:
        own.down()


class Writer:
    """The process, and when it said it had logged what."""

    def __init__(self, settings: Settings) -> None:
        root = WRITER.parents[1]
        path = os.pathsep.join([str(root), str(WRITER.parent), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, str(WRITER)],
            env={**os.environ, **as_environment(settings), "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),
        )
        self.logged: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """As the kernel kills when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self._thread.join(10)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.logged.append((time.monotonic(), line.strip()))


def until(condition: Callable[[], bool], what: str, deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"within {deadline_s} s: {what}"
        threading.Event().wait(0.05)


def read(settings: Settings, since: dict[tuple[str, int], int]) -> list[dict[str, Any]]:
    return [record for _, _, record in records_since(settings, since)]


def test_killed_kafka_and_killed_worker_cost_at_most_the_last_second(stack: Stack) -> None:
    settings = stack.settings
    since = end_offsets(settings, (DECISIONS,))
    writer = Writer(settings)
    try:
        until(lambda: len(writer.logged) > 20 and len(read(settings, since)) > 0, "decisions in Kafka")
        stack.down(["kafka"])
        n_before = len(writer.logged)
        until(lambda: len(writer.logged) > n_before + 150, "decisions during the outage")
        killed_s = time.monotonic()
    finally:
        writer.kill()
    stack.up(["kafka"])
    after = kafka_log(settings, Metrics())
    after.start()
    safe = {request_id for at_s, request_id in writer.logged if at_s < killed_s - KEPT_BEFORE_S}
    assert len(safe) > n_before + 50
    found: list[dict[str, Any]] = []

    def arrived() -> bool:
        found[:] = read(settings, since)
        return safe <= {r["request_id"] for r in found}

    try:
        until(arrived, "everything older than a second")
    finally:
        after.stop()
    numbers = sorted({r["sequence"] for r in found})
    assert numbers == list(range(len(numbers)))  # no gap: what is missing came last
    assert {r["worker"] for r in found} != {after.worker}
    assert not any(settings.home.joinpath("decisions").rglob("*.jsonl"))


def test_kafka_back_gets_what_waited_and_the_disk_is_empty_again(stack: Stack) -> None:
    settings = stack.settings
    since = end_offsets(settings, (DECISIONS,))
    spooled = settings.home / "decisions"
    writer = Writer(settings)
    try:
        until(lambda: len(writer.logged) > 5, "decisions")
        stack.down(["kafka"])
        until(lambda: any(f.stat().st_size > 50_000 for f in spooled.rglob("*.jsonl")), "a spool of some size")
        stack.up(["kafka"])
        back = len(writer.logged)
        until(lambda: not any(spooled.rglob("*.jsonl")), "the spool's end")
        until(lambda: len(writer.logged) > back + 5, "decisions after it")
        wanted = {request_id for _, request_id in writer.logged}
        until(lambda: wanted <= {r["request_id"] for r in read(settings, since)}, "all of them")
    finally:
        writer.kill()

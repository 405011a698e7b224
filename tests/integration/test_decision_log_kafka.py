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

import psutil
import pytest
from confluent_kafka import KafkaException
from conftest import settings_on_free_ports
from kafka_reading import end_offsets, records_since

from firstmile.errors import DependencyError
from firstmile.local.process import die_with_parent
from firstmile.local.stack import Stack
from firstmile.names import DECISIONS
from firstmile.settings import Part, Settings, as_environment
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


def kill(stack: Stack, part: Part) -> None:
    (state,) = stack.status([part])
    assert state.pid
    victim = psutil.Process(state.pid)
    victim.kill()
    assert not psutil.wait_procs([victim], timeout=20)[1]


def read(settings: Settings, since: dict[tuple[str, int], int]) -> list[dict[str, Any]]:
    """What is there; nothing while Kafka finds itself again."""
    try:
        return [record for _, _, record in records_since(settings, since)]
    except (KafkaException, DependencyError):
        return []


def test_killed_kafka_costs_nothing_and_a_killed_worker_at_most_its_last_second(stack: Stack) -> None:
    settings = stack.settings
    since = end_offsets(settings, (DECISIONS,))
    spooled = settings.home / "decisions"
    killed, living = Writer(settings), Writer(settings)
    after = kafka_log(settings, Metrics())
    try:
        until(lambda: len(killed.logged) > 20 and len(living.logged) > 20, "decisions of both")
        until(lambda: len({r["worker"] for r in read(settings, since)}) == 2, "decisions of both in Kafka")
        kill(stack, "kafka")
        n_before, n_other = len(killed.logged), len(living.logged)
        until(lambda: len(killed.logged) > n_before + 100 and len(living.logged) > n_other + 100, "more, in the outage")
        killed_s = time.monotonic()
        killed.kill()
        assert len(list(spooled.rglob("*.jsonl"))) >= 2
        stack.up(["kafka"])
        after.start()
        safe = {request_id for at_s, request_id in killed.logged if at_s < killed_s - KEPT_BEFORE_S}
        assert len(safe) > n_before + 20
        until(lambda: safe <= {r["request_id"] for r in read(settings, since)}, "all older than a second of the killed")
        safe = {request_id for _, request_id in living.logged}
        until(lambda: safe <= {r["request_id"] for r in read(settings, since)}, "all of the living one")
        until(lambda: not any(spooled.rglob("*.jsonl")), "the spools' end")
    finally:
        after.stop()
        killed.kill()
        living.kill()
    numbers: dict[str, set[int]] = {}
    for record in read(settings, since):
        numbers.setdefault(record["worker"], set()).add(record["sequence"])
    assert len(numbers) == 2
    assert all(found == set(range(len(found))) for found in numbers.values())  # no gap: what is missing came last

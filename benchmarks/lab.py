"""What the benchmarks share: a real stack of their own, verbs running on it, synthetic events."""

import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from prometheus_client.parser import text_string_to_metric_families

from feature_repo import progress
from feature_repo.online_store import connect
from firstmile.broker import AcknowledgedProducer, producer
from firstmile.clock import SystemClock
from firstmile.local import process
from firstmile.local.part import log_file
from firstmile.local.ports import free_ports
from firstmile.local.process import Program
from firstmile.local.stack import Stack
from firstmile.names import STREAM_TOPICS, USER_ACTIONS
from firstmile.setting_sections import ROOT
from firstmile.settings import Part, Settings, as_environment
from firstmile.wire import RecordWriter, Registry
from pipelines.topics import ensure_topics

PRODUCT = ROOT / "examples" / "oulad"
PORTS = ("kafka", "kafka_controller", "registry", "registry_management", "redis", "mlflow")
PARTS: tuple[Part, ...] = ("kafka", "registry", "redis")
NAMES = ("Content Opened", "Page Viewed", "Button Clicked", "Step Completed", "Form Error", "Content Completed")
FORMATS = ("video", "lesson", "quiz", "document")
DEADLINE_S = 120.0
StepTimes = dict[str, tuple[float, float]]
"""(seconds, number) by step."""
STEPS = "firstmile_stream_batch_seconds"


@contextmanager
def own_stack(*, partitions: int = 2, parts: Sequence[Part] = PARTS, **stream: Any) -> Iterator[Settings]:
    """Kafka, registry and Redis, or other parts, on free ports in a folder that is removed; topics made."""
    with tempfile.TemporaryDirectory(prefix="firstmile-benchmark-", ignore_cleanup_errors=True) as folder:
        local = {f"{name}_port": port for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
        given: Any = {"local": local, "kafka": {"partitions": partitions}, "stream": stream, "product": PRODUCT}
        settings = Settings(home=Path(folder), **given)
        stack = Stack(settings, with_parent=True)
        stack.up(list(parts))
        try:
            if "kafka" in parts:
                ensure_topics(settings)
            yield settings
        finally:
            process.stop(settings.home / "run", [n for n in process.recorded(settings.home / "run") if n not in parts])
            stack.down()


def start_verb(settings: Settings, verb: str, command: list[str] | None = None) -> process.Supervised:
    """A long-running verb, or another command, that has said `ready:`.

    Raises DependencyError when it dies or says nothing.
    """
    command = command or [str(Path(sys.executable).with_name("firstmile")), verb]
    program = Program(verb, command, log_file(settings, verb), as_environment(settings), ROOT)
    started = process.start(program, settings.home / "run", with_parent=True)

    def probe() -> str | None:
        return None if "ready: " in program.log.read_text(errors="replace") else "not ready"

    process.wait_healthy({verb: (started, probe)}, deadline_s=DEADLINE_S)
    return started


def stop_verb(settings: Settings, verb: str) -> None:
    """End it as Ctrl-C would."""
    process.stop(settings.home / "run", [verb])


def step_times(port: int) -> StepTimes:
    """From the stream's page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        text = page.read().decode()
    sums: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == STEPS else ():
            if sample.name.endswith(("_sum", "_count")):
                place = sums.setdefault(sample.labels["step"], [0.0, 0.0])
                place[sample.name.endswith("_count")] = sample.value
    return {step: (seconds, n) for step, (seconds, n) in sums.items()}


def step_means(before: StepTimes, after: StepTimes) -> dict[str, float]:
    """Milliseconds of a batch by step, of the batches between two looks at the page."""
    means = {}
    for step, (seconds, n) in after.items():
        seconds_before, n_before = before.get(step, (0.0, 0.0))
        if n > n_before:
            means[step] = round(1_000 * (seconds - seconds_before) / (n - n_before), 1)
    return means


class Events:
    """Seeded events of many users, framed as the collector frames them, about 260 bytes each."""

    def __init__(self, settings: Settings, *, n_users: int, seed: int = 7, prefix: str = "user") -> None:
        self._writer = RecordWriter(Registry(settings.registry_url), USER_ACTIONS)
        self._rng = np.random.default_rng(seed)
        self._n_users, self._prefix, self._n = n_users, f"{prefix}-{seed}", 0

    def one(self, user: str | None = None, *, at_us: int | None = None, as_json: bool = False) -> tuple[str, bytes]:
        """(key, value), stamped with a time, or now; the value in Avro, or the same in JSON."""
        i, n = self._n, self._rng.integers(0, 1 << 30)
        self._n += 1
        now_us = at_us or SystemClock().now_us()
        user = user or f"{self._prefix}-{int(n) % self._n_users}"
        record = {
            "message_id": f"{self._prefix}-{i:08d}-5f0c-4c1e-9d2a-000000000000",
            "user_id": user,
            "name": NAMES[i % len(NAMES)],
            "event_time": now_us,
            "received_at": now_us,
            "properties": {
                "content_id": f"content-{n % 97}",
                "format": FORMATS[i % len(FORMATS)],
                "step": f"step-{n % 7}",
                "page": f"/onboarding/step/{n % 7}",
                "target": f"button-{n % 5}",
            },
        }
        if as_json:
            at = datetime.fromtimestamp(now_us / 1e6, UTC).isoformat()
            return user, orjson.dumps({**record, "event_timestamp": at, "weight": 1})
        return user, self._writer.encode(record)


def send(out: AcknowledgedProducer, events: Events, n: int) -> int:
    """Produce n events as fast as it goes; returns their bytes."""
    n_bytes = 0
    for _ in range(n):
        key, value = events.one()
        n_bytes += len(value)
        out.send(USER_ACTIONS, key=key, value=value)
    out.flush()
    return n_bytes


def n_read(settings: Settings, *, partitions: int) -> int:
    """Records the stream has applied, by its progress records."""
    client = connect(settings.redis_url, timeout_s=5)
    wanted = [(topic, p) for topic in STREAM_TOPICS for p in range(partitions)]
    return sum(record.next_offset for record in progress.read(client, wanted).values())


def wait_read(settings: Settings, n: int, *, partitions: int, deadline_s: float = 600.0) -> float:
    """Seconds until the stream has applied n records in all."""
    began = time.monotonic()
    while n_read(settings, partitions=partitions) < n:
        if time.monotonic() - began > deadline_s:
            raise TimeoutError(f"the stream has read {n_read(settings, partitions=partitions)} of {n}")
        time.sleep(0.02)
    return time.monotonic() - began


def large_producer(settings: Settings) -> AcknowledgedProducer:
    """A producer for loads."""
    return producer(settings, **{"linger.ms": 20, "batch.num.messages": 10_000})

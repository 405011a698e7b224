"""Everything is killed, again and again, while events come late and twice: no event is lost, none counts twice."""

import logging
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import settings_on_free_ports
from exactness import differences, lake_problems
from generated_users import Delivery, deliveries
from kafka_reading import end_offsets
from running import command, poll, run

from feature_repo import progress
from feature_repo.online_store import connect
from firstmile.broker import producer
from firstmile.clock import SystemClock
from firstmile.local.process import die_with_parent, find
from firstmile.local.stack import Stack
from firstmile.names import STREAM_TOPICS
from firstmile.settings import Part, Settings, as_environment
from firstmile.wire import Registry
from pipelines.lake import STEPS as COMMIT_STEPS
from pipelines.topics import ensure_topics, record_writers

pytestmark = pytest.mark.alone

log = logging.getLogger(__name__)

SEED = int(os.environ.get("KILLS_SEED", "20261125"))
N_USERS = 240
READ_S = 600.0
"""Deadline for the stream to get through what waits, Spark's start included, on a busy machine."""


class Torn:
    """A product whose parts are killed and started again."""

    def __init__(self, settings: Settings, log: Path, rng: random.Random) -> None:
        self.settings, self.log, self.rng = settings, log, rng
        self.client = connect(settings.redis_url, timeout_s=10)
        self.n_kills = self.n_recovers = 0
        self.stream: subprocess.Popen[bytes] | None = None
        self._partitions = list(end_offsets(settings, STREAM_TOPICS))
        self._log_start = 0
        self._producer = producer(settings)
        self._writers = record_writers(Registry(settings.registry_url))

    def send(self, some: Sequence[Delivery]) -> None:
        for delivery in some:
            value = self._writers[delivery.topic].encode(delivery.record)
            self._producer.send(delivery.topic, key=delivery.user_id, value=value)
        self._producer.flush()

    def n_applied(self) -> int:
        return sum(
            p.next_offset for p in progress.read(self.client, end_offsets(self.settings, STREAM_TOPICS)).values()
        )

    def work_until(self, n: int) -> None:
        """Keep a stream running, and recover when it says so, until so many records are in the rows."""

        def is_there() -> bool:
            self._keep_running()
            return self.n_applied() >= n

        poll(is_there, timeout_s=READ_S, what=f"{n} records in the rows, see {self.log}")

    def kill_stream(self) -> None:
        """SIGKILL, some moment within the next half second."""
        assert self.stream is not None
        try:
            self.stream.wait(timeout=self.rng.uniform(0, 0.5))
        except subprocess.TimeoutExpired:
            self.stream.kill()
            self.n_kills += 1
        self.stream.wait()

    def kill_part(self, part: Part) -> None:
        """SIGKILL for Redis or Kafka, and up again on its data."""
        found = find(self.settings.home / "run", part)
        assert found is not None
        os.kill(found.pid, 9)
        poll(lambda: not found.is_alive(), what=f"{part} dead")
        Stack(self.settings, with_parent=True).up([part])

    def kill_archive(self, after: str) -> None:
        script = Path(__file__).with_name("killed_archive.py")
        ended = subprocess.run(
            [sys.executable, str(script), after],
            env={**os.environ, **as_environment(self.settings)},
            capture_output=True,
            timeout=READ_S,
            check=False,
            preexec_fn=die_with_parent(),
        )
        assert ended.returncode == -9, ended.stderr.decode()[-3000:]

    def stop(self) -> None:
        if self.stream is not None and self.stream.poll() is None:
            self.stream.terminate()
            self.stream.wait(timeout=60)

    def _keep_running(self) -> None:
        if self.stream is not None and self.stream.poll() is None:
            return
        if self.stream is not None and self.stream.returncode == 1 and "firstmile recover" in self._last_words():
            done = run(self.settings, "recover", timeout_s=READ_S)
            assert done.returncode == 0, done.stderr[-3000:]
            self.n_recovers += 1
        with self.log.open("ab") as out:
            self._log_start = self.log.stat().st_size
            self.stream = subprocess.Popen(
                command("stream"),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **as_environment(self.settings)},
                preexec_fn=die_with_parent(),
            )

    def _last_words(self) -> str:
        return self.log.read_bytes()[self._log_start :].decode(errors="replace")


@pytest.fixture
def torn(tmp_path: Path) -> Iterator[Torn]:
    """A stack of its own, small batches, and no stream yet."""
    small = {"max_offsets_per_trigger": 120}
    settings = settings_on_free_ports(tmp_path / "home", stream=small)
    stack = Stack(settings, with_parent=True)
    stack.up(["kafka", "registry", "redis"])
    ensure_topics(settings)
    torn = Torn(settings, tmp_path / "stream.log", random.Random(SEED))
    yield torn
    torn.stop()
    stack.down()


@pytest.mark.slow
@pytest.mark.timeout(5_400)
def test_twenty_kills_lose_and_double_nothing(torn: Torn) -> None:
    tear(torn, n_kills=20, kills={5: "redis", 11: "kafka"}, archive_kills={3: "file", 8: "entry", 14: "file"})
    assert torn.n_kills >= 20


def tear(torn: Torn, *, n_kills: int, kills: dict[int, Part], archive_kills: dict[int, str]) -> None:
    """Send, kill, send, kill; then let everything finish and compare."""
    sent = deliveries(seed=SEED, n_users=N_USERS, now_ms=SystemClock().now_us() // 1_000)
    users = [f"g{SEED}-{user}" for user in range(N_USERS)]
    assert set(archive_kills.values()) <= set(COMMIT_STEPS)
    round_, n_sent = 0, 0
    while torn.n_kills < n_kills:
        # The later rounds come when all is sent, should a stream have ended by itself just before its kill.
        edges = [len(sent) * min(r, n_kills) // n_kills for r in (round_, round_ + 1)]
        torn.send(sent[edges[0] : edges[1]])
        n_before, n_sent = n_sent, edges[1]
        torn.work_until(torn.rng.randint(n_before, max(n_before, n_sent - 1)))
        if round_ in kills:
            torn.kill_part(kills[round_])
        torn.kill_stream()
        if round_ in archive_kills:
            torn.kill_archive(archive_kills[round_])
        round_ += 1
    torn.work_until(len(sent))
    torn.stop()
    archived = run(torn.settings, "archive", "--once", timeout_s=READ_S)
    assert archived.returncode == 0, archived.stderr[-3000:]
    log.info("%d kills, %d recovers, %d records, %d users", torn.n_kills, torn.n_recovers, len(sent), len(users))
    differ = differences(torn.settings, torn.client, sent, users)
    assert not differ, "\n".join(differ[:40])
    lost = lake_problems(torn.settings)
    assert not lost, "\n".join(lost[:40])

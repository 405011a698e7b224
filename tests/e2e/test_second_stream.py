"""A second stream started by mistake beside the first: rows stay right, and whoever stops says why."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import settings_on_free_ports
from kafka_reading import end_offsets
from running import command, poll
from sending import Sender

from feature_repo import progress
from feature_repo.online_store import connect
from feature_repo.row import unpack_rows
from firstmile.local.process import die_with_parent
from firstmile.local.stack import Stack
from firstmile.names import STREAM_TOPICS
from firstmile.settings import Settings, as_environment
from pipelines.rows import read_users
from pipelines.topics import ensure_topics

pytestmark = pytest.mark.alone

START_S = 400.0
N_ROUNDS, N_EVENTS = 12, 5


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    own = settings_on_free_ports(tmp_path / "home", stream={"max_offsets_per_trigger": 100})
    stack = Stack(own, with_parent=True)
    stack.up(["kafka", "registry", "redis"])
    ensure_topics(own)
    yield own
    stack.down()


def start(settings: Settings, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        return subprocess.Popen(
            command("stream"),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **as_environment(settings)},
            preexec_fn=die_with_parent(),
        )


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("has_own_checkpoint", [False, True])
def test_two_streams_count_every_event_once(settings: Settings, tmp_path: Path, has_own_checkpoint: bool) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"}) if has_own_checkpoint else settings
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    streams = [start(settings, logs[0]), start(other, logs[1])]
    sender, client = Sender(settings), connect(settings.redis_url, timeout_s=10)
    users = [f"u-{uuid.uuid4()}" for _ in range(25)]

    def is_up() -> bool:
        ended = [stream.poll() is not None for stream in streams]
        assert not all(ended), f"both ended: {logs[0].read_text()[-2000:]} {logs[1].read_text()[-2000:]}"
        return all(b"ready:" in log.read_bytes() or end for log, end in zip(logs, ended, strict=True))

    def is_read() -> bool:
        is_up()
        ends = end_offsets(settings, STREAM_TOPICS)
        records = progress.read(client, ends)
        return records.keys() == ends.keys() and all(records[p].next_offset >= ends[p] for p in ends)

    try:
        poll(is_up, timeout_s=START_S, what="both streams ready or ended")
        for _ in range(N_ROUNDS):
            for name in users:
                sender.send(name, *(sender.event(name) for _ in range(N_EVENTS)))
        poll(is_read, timeout_s=START_S, what="everything in the rows")
        n_events = unpack_rows(read_users(client, users).activity).life.count.tolist()
        assert n_events == [N_ROUNDS * N_EVENTS] * len(users)
        for stream, log in zip(streams, logs, strict=True):
            if stream.poll() is not None:
                said = log.read_text(errors="replace")
                assert stream.returncode == 1, said[-2000:]
                assert "a second " in said, said[-2000:]
    finally:
        for stream in streams:
            if stream.poll() is None:
                stream.terminate()
        for stream in streams:
            stream.wait(timeout=120)

"""Redis emptied, rolled back or restarted under the real stream: it stops before any write, `recover` repairs."""

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from batches import decoded, writer
from conftest import settings_on_free_ports
from demo_product import with_file
from kafka_reading import end_offsets
from running import poll, run, running
from sending import Sender

from feature_repo import progress
from feature_repo.fields import ACTIVITY, CONTEXT, CONTEXT_FIELDS, PROFILE, PROFILE_FIELDS
from feature_repo.online_store import connect, feature_field, user_key
from feature_repo.progress import Progress
from feature_repo.row import unpack_rows
from firstmile.clock import SystemClock
from firstmile.errors import DependencyError, StoreLossError
from firstmile.local.stack import Stack
from firstmile.names import CONTEXT as CONTEXT_TOPIC
from firstmile.names import FAMILIES, STREAM_TOPICS, SYSTEM_LOGS, USER_ACTIONS
from firstmile.settings import Settings
from pipelines.rows import read_users
from pipelines.topics import ensure_topics

HOUR_US = 3_600_000_000
START_S = 400.0
"""Deadline of a start of Spark on a very busy machine."""
FIELDS = [
    feature_field(ACTIVITY, "activity"),
    *(feature_field(PROFILE, name) for name in PROFILE_FIELDS),
    *(feature_field(CONTEXT, name) for name in CONTEXT_FIELDS),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of its own: these tests empty its Redis."""
    own = settings_on_free_ports(tmp_path_factory.mktemp("loss"))
    stack = Stack(own, with_parent=True)
    stack.up(["kafka", "registry", "redis"])
    ensure_topics(own)
    yield own
    stack.down()


@pytest.fixture
def client(settings: Settings) -> "redis.Redis":
    return connect(settings.redis_url, timeout_s=5)


def features(client: "redis.Redis", users: list[str]) -> dict[str, list[Any]]:
    """Every stored byte that a feature is read from."""
    return {name: list(client.hmget(user_key(name), FIELDS)) for name in users}  # type: ignore[arg-type]


def everything(client: "redis.Redis") -> dict[bytes, Any]:
    """Every hash of the store."""
    return {key: client.hgetall(key) for key in client.scan_iter(_type="hash")}


def wait_until_read(settings: Settings, client: "redis.Redis") -> None:
    ends = end_offsets(settings, STREAM_TOPICS)

    def is_read() -> bool:
        records = progress.read(client, ends)
        return records.keys() == ends.keys() and all(records[p].next_offset >= ends[p] for p in ends)

    poll(is_read, timeout_s=180, what="the stream at the end of its topics")


def send_some(sender: Sender, users: list[str], *, profile_ahead_us: int = 0) -> None:
    """Opens, errors, a context and a profile of each user; some of it late, some of it twice."""
    for i, name in enumerate(users):
        now_us = SystemClock().now_us()
        opened = {"content_id": f"c{i}", "format": "quiz", "step": f"s{i}"}
        late = sender.event(name, "Content Opened", properties=opened, event_time=now_us - HOUR_US - i)
        sender.send(name, sender.event(name), late, late, sender.event(name, "Step Completed", weight=3))
        sender.send(name, sender.event(name, "Server Error", topic=SYSTEM_LOGS), topic=SYSTEM_LOGS)
        seen = sender.event(name, "Context Observed", topic=CONTEXT_TOPIC, properties={"device": f"d{now_us}"})
        sender.send(name, seen, topic=CONTEXT_TOPIC)
        sender.profile(name, received_at=now_us + profile_ahead_us, product=f"p{now_us}", studied_credits="60")


def ended(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The log of a stream that has refused to go on."""
    assert process.wait(timeout=120) == 1
    return log.read_text()


def recovered(settings: Settings) -> dict[str, Any]:
    done = run(settings, "recover")
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_emptied_store_stops_the_stream_and_comes_back_the_same(
    settings: Settings, client: "redis.Redis", tmp_path: Path
) -> None:
    sender, log = Sender(settings), tmp_path / "stream.log"
    users, probe = [f"u-{uuid.uuid4()}" for _ in range(12)], f"u-{uuid.uuid4()}"
    with running(settings, ["stream"], log, timeout_s=START_S) as process:
        send_some(sender, users)
        wait_until_read(settings, client)
        archived = run(settings, "archive", "--once")
        assert archived.returncode == 0, archived.stderr[-3000:]
        send_some(sender, users[6:])  # what the lake does not have comes from Kafka again
        wait_until_read(settings, client)
        before = features(client, users)
        client.flushall()
        sender.send(probe, sender.event(probe))
        said = ended(process, log)
    assert "StoreLossError" in said
    assert "emptied" in said
    assert "firstmile recover" in said
    assert client.dbsize() == 0

    shutil.rmtree(settings.checkpoints)  # lost with the store: the lake still tells that a stream was here
    refused = run(settings, "stream")
    assert refused.returncode == 1
    assert "firstmile recover" in refused.stderr

    recovered(settings)
    with running(settings, ["stream"], log, timeout_s=START_S):
        wait_until_read(settings, client)
        assert features(client, users) == before
        sender.send(probe, sender.event(probe))
        wait_until_read(settings, client)
    assert unpack_rows(read_users(client, [probe]).activity).life.count.tolist() == [2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_store_rolled_back_stops_the_stream_and_comes_back_the_same(
    settings: Settings, client: "redis.Redis", tmp_path: Path
) -> None:
    """With rows whose times are later than those of the history that is ahead of them."""
    sender, log, copy = Sender(settings), tmp_path / "stream.log", tmp_path / "copy"
    users, probe = [f"u-{uuid.uuid4()}" for _ in range(12)], f"u-{uuid.uuid4()}"
    with running(settings, ["stream"], log, timeout_s=START_S) as process:
        send_some(sender, users[:8], profile_ahead_us=2 * HOUR_US)
        wait_until_read(settings, client)
        restarted(settings, lambda folder: shutil.copytree(folder, copy))
        send_some(sender, users)
        wait_until_read(settings, client)
        archived = run(settings, "archive", "--once")
        assert archived.returncode == 0, archived.stderr[-3000:]
        before = features(client, users)
        restarted(settings, lambda folder: (shutil.rmtree(folder), shutil.copytree(copy, folder)))
        older = everything(client)
        assert features(client, users) != before
        sender.send(probe, sender.event(probe))
        said = ended(process, log)
    assert "rolled back" in said
    assert "firstmile recover" in said
    assert everything(client) == older

    assert recovered(settings)["n_rolled_back"] == 8
    with running(settings, ["stream"], log, timeout_s=START_S):
        wait_until_read(settings, client)
    assert features(client, users) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_mended_mapping_reaches_online_rows_by_a_refold(
    settings: Settings, client: "redis.Redis", tmp_path: Path
) -> None:
    sender, log, name = Sender(settings), tmp_path / "stream.log", f"u-{uuid.uuid4()}"
    mended = "version: 2\nfamilies:\n  click: [cta.tapped]\n  page_view: [Page Viewed]\n"
    with running(settings, ["stream"], log, timeout_s=START_S):
        sender.send(name, sender.event(name), *(sender.event(name, "cta.tapped") for _ in range(3)))
        sender.profile(name, plan="pro")
        wait_until_read(settings, client)
    assert counts(client, name) == {"page_view": 1, "unknown": 3}
    assert run(settings, "archive", "--once").returncode == 0
    own = with_file(settings, tmp_path, "events", mended)
    recovered(own)  # the rows are whole, so they stay
    assert counts(client, name) == {"page_view": 1, "unknown": 3}
    done = run(own, "recover", "--refold")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["n_refolded"] > 0
    assert counts(client, name) == {"page_view": 1, "click": 3}
    with running(own, ["stream"], log, timeout_s=START_S):
        sender.send(name, sender.event(name, "cta.tapped"))
        wait_until_read(own, client)
    assert counts(client, name) == {"page_view": 1, "click": 4}
    assert read_users(client, [name]).profile(0).values == {"plan": "pro"}


def counts(client: "redis.Redis", name: str) -> dict[str, int]:
    """Events of a user by family."""
    life = unpack_rows(read_users(client, [name]).activity).life
    families = [FAMILIES[i] for i in life.family.tolist()]
    return dict(zip(families, life.count.tolist(), strict=True))


def restarted(settings: Settings, meanwhile: Callable[[Path], object]) -> None:
    """Redis stopped, something done to its data, and started again."""
    stack = Stack(settings, with_parent=True)
    stack.down(["redis"])
    meanwhile(settings.home / "data" / "redis")
    stack.up(["redis"])


# ---------------------------------------------------------------- within a batch


@pytest.fixture
def at(client: "redis.Redis") -> tuple[str, int]:
    """A partition of no real topic, in a store with its record alone."""
    client.flushall()
    chosen = (USER_ACTIONS, 1_000)
    progress.write(client, {}, {chosen: Progress(0, "t", 0)})
    return chosen


@pytest.mark.parametrize("step", ["side_outputs", "rows"])
def test_a_store_emptied_within_a_batch_takes_no_row_of_it(
    settings: Settings, client: "redis.Redis", at: tuple[str, int], step: str
) -> None:
    users = [f"u-{uuid.uuid4()}" for _ in range(3)]
    loses = writer(settings, "t", after=lambda name: name == step and client.flushall())
    with pytest.raises(StoreLossError, match="firstmile recover"):
        loses.write(decoded(users, at[1], range(30)), start={at: 0}, end={at: 30})
    assert client.dbsize() == 0


def test_a_store_rolled_back_within_a_batch_takes_no_row_of_it(
    settings: Settings, client: "redis.Redis", at: tuple[str, int]
) -> None:
    """The users' rows are as the batch read them: only the progress records tell."""
    older = progress.read(client, [at])
    writer(settings, "t").write(decoded(["before"], at[1], range(10)), start={at: 0}, end={at: 10})

    def roll_back(step: str) -> None:
        if step == "side_outputs":
            client.flushall()
            progress.write(client, {}, older)

    with pytest.raises(StoreLossError, match="rolled back"):
        writer(settings, "t", after=roll_back).write(
            decoded(["after"], at[1], range(10, 20)), start={at: 10}, end={at: 20}
        )
    assert not client.exists(user_key("after"))


def test_a_store_restarted_within_a_batch_has_the_batch_done_again(
    settings: Settings, client: "redis.Redis", at: tuple[str, int]
) -> None:
    def restart(step: str) -> None:
        if step == "rows":
            restarted(settings, lambda _: None)

    users = [f"u-{uuid.uuid4()}" for _ in range(3)]
    table = decoded(users, at[1], range(30))
    with pytest.raises(DependencyError, match="restarted"):
        writer(settings, "t", after=restart).write(table, start={at: 0}, end={at: 30})
    assert progress.read(client, [at])[at].next_offset == 0
    writer(settings, "t").write(table, start={at: 0}, end={at: 30})
    rows = unpack_rows(read_users(client, users).activity)
    assert rows.life.count.tolist() == [10] * 3


def test_a_store_rolled_back_to_before_a_topic_was_made_anew_is_noticed(
    settings: Settings, at: tuple[str, int]
) -> None:
    with pytest.raises(StoreLossError, match="made anew"):
        writer(settings, "another").check({at: 0})

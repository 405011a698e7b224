"""The embedded stack as people use it: up, again up, killed, down, up on its data."""

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic
from conftest import settings_on_free_ports

from firstmile.broker import admin, consumer, producer
from firstmile.local.stack import PartState, Stack
from firstmile.settings import PARTS, Settings
from firstmile.wire import Registry

SCHEMA = '{"type": "record", "name": "Probe", "fields": [{"name": "a", "type": "int"}]}'


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack these tests may kill."""
    made = Stack(settings_on_free_ports(tmp_path_factory.mktemp("own")), with_parent=True)
    made.up()
    try:
        yield made
    finally:
        made.down()


def by_name(states: list[PartState]) -> dict[str, PartState]:
    return {s.name: s for s in states}


def append(settings: Settings, topic: str, value: bytes) -> None:
    client = admin(settings)
    client.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    sender = producer(settings)
    sender.send(topic, key="u1", value=value)
    sender.flush()


def first_value(settings: Settings, topic: str) -> bytes | None:
    reader = consumer(settings, group=f"test-{uuid.uuid4()}")
    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        message = reader.poll(20)
        return None if message is None or message.error() else message.value()
    finally:
        reader.close()


def test_every_part_is_healthy_with_pid_address_data_and_log(own: Stack) -> None:
    states = by_name(own.status())
    assert set(states) == set(PARTS)
    for state in states.values():
        assert state.is_healthy, state
        assert state.pid
        assert psutil.pid_exists(state.pid)
        assert Path(state.data or "").is_dir()
        assert Path(state.log or "").stat().st_size > 0


def test_every_port_is_bound_to_loopback_alone(own: Stack) -> None:
    states = own.status()
    assert {state.name for state in states} == set(PARTS)
    for state in states:
        family = [psutil.Process(state.pid), *psutil.Process(state.pid).children(recursive=True)]
        listening = [c.laddr for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}, state.name


def test_up_again_changes_nothing(own: Stack) -> None:
    before = [s.pid for s in own.status()]
    assert len(before) == len(PARTS)
    assert [s.pid for s in own.up()] == before


def test_a_part_that_looks_alive_and_is_about_to_be_gone_comes_back_at_once(own: Stack) -> None:
    old = by_name(own.status())["redis"].pid
    assert old
    os.kill(old, signal.SIGSTOP)
    dying = threading.Timer(0.3, os.kill, (old, signal.SIGKILL))
    dying.start()
    state = by_name(own.up(["redis"]))["redis"]
    dying.join()
    assert state.is_healthy
    assert state.pid != old


def test_killed_parts_are_seen_and_come_back_with_their_data(own: Stack) -> None:
    settings, topic, key = own.settings, f"probe-{uuid.uuid4()}", f"probe:{uuid.uuid4()}"
    append(settings, topic, b"kept")
    schema_id = Registry(settings.registry_url).register(topic, SCHEMA)
    with redis.Redis.from_url(settings.redis_url) as client:
        client.set(key, "kept")
    old = {s.name: s.pid for s in own.status()}
    killed = [psutil.Process(pid) for pid in old.values()]
    for victim in killed:
        victim.kill()
    assert not psutil.wait_procs(killed, timeout=20)[1]  # the kernel takes a moment to clear a large one away

    dead = by_name(own.status())
    assert {name: s.is_healthy for name, s in dead.items()} == dict.fromkeys(PARTS, False)
    assert all("it died" in (s.problem or "") for s in dead.values())

    new = by_name(own.up())
    assert {name: s.is_healthy and s.pid != old[name] for name, s in new.items()} == dict.fromkeys(PARTS, True)
    assert first_value(settings, topic) == b"kept"
    assert Registry(settings.registry_url).latest(topic)[0] == schema_id
    assert "Probe" in Registry(settings.registry_url).writer_text(schema_id)
    with redis.Redis.from_url(settings.redis_url) as client:
        assert client.get(key) == b"kept"


def test_down_then_up_keeps_topics_schema_ids_and_keys(own: Stack) -> None:
    own.up()
    settings, topic, key = own.settings, f"probe-{uuid.uuid4()}", f"probe:{uuid.uuid4()}"
    append(settings, topic, b"kept")
    schema_id = Registry(settings.registry_url).register(topic, SCHEMA)
    with redis.Redis.from_url(settings.redis_url) as client:
        client.set(key, "kept")

    assert set(own.down()) == set(PARTS)
    states = by_name(own.status())
    assert {name: (s.is_healthy, s.problem) for name, s in states.items()} == dict.fromkeys(
        PARTS, (False, "not started")
    )
    own.up()

    assert first_value(settings, topic) == b"kept"
    assert Registry(settings.registry_url).latest(topic)[0] == schema_id
    with redis.Redis.from_url(settings.redis_url) as client:
        assert client.get(key) == b"kept"

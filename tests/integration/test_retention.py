"""The doctor, the stream and the archive before a Kafka that keeps events too short, and one that differs."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from conftest import settings_on_free_ports
from running import poll, run

from firstmile.broker import admin, describe_topics, producer
from firstmile.local.doctor import topic_findings
from firstmile.local.stack import Stack
from firstmile.names import ENRICHED, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import RecordWriter, Registry
from pipelines.archive_lag import archive_lag
from pipelines.lake import Lake, read_key
from pipelines.topics import ensure_topics

MS_PER_HOUR = 3_600_000


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Kafka and registry of our own: these tests change its topics."""
    made = settings_on_free_ports(tmp_path_factory.mktemp("retention"))
    stack = Stack(made, with_parent=True)
    stack.up(["kafka", "registry", "redis"])
    try:
        ensure_topics(made)
        yield made
    finally:
        stack.down()


@pytest.fixture
def lakeless(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"home": tmp_path})


def set_retention(settings: Settings, topic: str, ms: int) -> None:
    client = admin(settings)
    entry = ConfigEntry("retention.ms", str(ms), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client.incremental_alter_configs([resource])[resource].result(20)


def enrich(settings: Settings, n: int) -> None:
    writer, sender = RecordWriter(Registry(settings.registry_url), ENRICHED), producer(settings)
    for offset in range(n):
        record = {
            "message_id": str(uuid.uuid4()),
            "user_id": "u1",
            "name": "Page Viewed",
            "event_time": 1_700_000_000_000_000,
            "received_at": 1_700_000_000_000_000,
            "source_topic": USER_ACTIONS,
            "source_topic_id": "a",
            "source_partition": 0,
            "source_offset": offset,
        }
        sender.send(ENRICHED, key="u1", value=writer.encode(record))
    sender.flush()


def test_the_lag_is_the_age_of_the_oldest_event_the_lake_has_not_read(lakeless: Settings) -> None:
    enrich(lakeless, 3)
    [behind] = [lag for lag in archive_lag(lakeless) if lag.n_behind]
    assert behind.n_behind >= 3
    poll(lambda: max(lag.age_s for lag in archive_lag(lakeless)) > 0.2, what="an age that grows")

    topic_id = describe_topics(lakeless, [ENRICHED])[ENRICHED].topic_id
    end = {(ENRICHED, behind.partition): behind.n_behind}
    nothing = Lake(lakeless.lake)
    columns = ("enriched_partition", "source_topic_id", "source_topic", "source_partition", "source_offset")
    empty = pa.table({name: pa.array([], pa.int64()) for name in (*columns, "received_us")})
    nothing.commit(empty, end, topic_id=topic_id)
    assert nothing.read_to() == {read_key(topic_id, behind.partition): behind.n_behind}
    assert {(lag.n_behind, lag.age_s, lag.n_lost) for lag in archive_lag(lakeless)} == {(0, 0.0, 0)}


def test_doctor_notes_what_differs_and_topics_alter_mends_it(settings: Settings) -> None:
    assert [f.is_ok for f in topic_findings(settings) if f.name == "topics"] == [True]
    longer = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"retention_hours": 400})})
    [found] = [f for f in topic_findings(longer) if f.name == "topics"]
    assert f"{ENRICHED} has retention.ms {168 * MS_PER_HOUR}, the settings say {400 * MS_PER_HOUR}" in found.found
    done = run(longer, "doctor")
    answer = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert not answer["topics"]["is_ok"]
    assert "firstmile topics --alter" in done.stderr
    assert run(longer, "topics", "--alter").returncode == 0
    assert [f.is_ok for f in topic_findings(longer) if f.name == "topics"] == [True]
    assert run(settings, "topics", "--alter").returncode == 0


def test_a_retention_under_the_lag_fails_the_doctor(lakeless: Settings) -> None:
    enrich(lakeless, 1)
    poll(lambda: max(lag.age_s for lag in archive_lag(lakeless)) > 1.5, what="an event older than 1.5 s")
    often = lakeless.model_copy(update={"stream": lakeless.stream.model_copy(update={"archive_interval_s": 0.1})})
    set_retention(lakeless, USER_ACTIONS, 1_000)
    try:
        [found] = [f for f in topic_findings(often) if f.name == "retention"]
        assert (found.is_ok, found.is_essential) == (False, True)
        assert f"{USER_ACTIONS} is kept 1 s" in found.found
        assert run(often, "doctor").returncode == 1
    finally:
        set_retention(lakeless, USER_ACTIONS, 168 * MS_PER_HOUR)


@pytest.mark.parametrize("verb", ["stream", "archive"])
def test_stream_and_archive_refuse_a_retention_under_the_archives_interval(lakeless: Settings, verb: str) -> None:
    set_retention(lakeless, ENRICHED, 30_000)
    try:
        done = run(lakeless, verb)
    finally:
        set_retention(lakeless, ENRICHED, 168 * MS_PER_HOUR)
    assert done.returncode == 1
    assert f"Kafka keeps {ENRICHED} 30 s; the archive runs every 60 s" in done.stderr
    assert "firstmile topics --alter" in done.stderr


def test_without_kafka_the_doctor_says_nothing_of_topics(tmp_path: Path) -> None:
    assert topic_findings(settings_on_free_ports(tmp_path)) == []

"""The real stream on real Kafka, registry and Redis: what goes in comes out counted, once, whatever happens."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka_reading import end_offsets, records_since
from running import poll, run, running
from sending import NOW, Sender

from feature_repo import progress
from feature_repo.fields import PROFILE_TIME
from feature_repo.latest import PROFILE_VIEW
from feature_repo.online_store import connect
from feature_repo.reader import OnlineReader
from firstmile.names import CONTEXT, DEAD_LETTERS, ENRICHED, PROFILES, STREAM_TOPICS, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import HEADER, RecordWriter, Registry
from pipelines.backfill_lake import backfill_lake
from pipelines.rows import read_users
from pipelines.topics import schema_text


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shared stack, with checkpoints, lake and history of its own."""
    return stack.model_copy(update={"home": tmp_path_factory.mktemp("stream")})


@pytest.fixture(scope="module")
def log(settings: Settings) -> Path:
    return settings.home / "stream.log"


@pytest.fixture(scope="module")
def sender(settings: Settings) -> Sender:
    return Sender(settings)


@pytest.fixture(scope="module")
def stream(settings: Settings, log: Path) -> Iterator[None]:
    with running(settings, ["stream"], log):
        yield


def user() -> str:
    return f"u-{uuid.uuid4()}"


def value(settings: Settings, name: str, feature: str) -> float:
    found = OnlineReader(settings).read(name, NOW())
    return float((found.values[feature] if found else None) or 0)


def wait_for(settings: Settings, name: str, feature: str, expected: float) -> None:
    poll(lambda: value(settings, name, feature) >= expected, what=f"{feature} of {name} at {expected}")
    assert value(settings, name, feature) == expected


def wait_until_read(settings: Settings) -> None:
    """Until everything sent so far is in the rows."""
    ends = end_offsets(settings, STREAM_TOPICS)
    client = connect(settings.redis_url, timeout_s=5)

    def is_read() -> bool:
        records = progress.read(client, ends)
        return all(end == 0 or (p in records and records[p].next_offset >= end) for p, end in ends.items())

    poll(is_read, what="the stream at the end of its topics")


def test_events_become_features(settings: Settings, sender: Sender, stream: None) -> None:
    name = user()
    opened = sender.event(name, "Content Opened", properties={"content_id": "c1", "format": "video"}, weight=4)
    sender.send(name, sender.event(name), opened, sender.event(name, "No Such Name"))
    wait_for(settings, name, "events_1h_count", 3)
    assert value(settings, name, "content_open_1h_weight") == 4
    assert value(settings, name, "opens_video") == 1
    assert value(settings, name, "unknown_total_count") == 1


def test_a_message_sent_twice_counts_once(settings: Settings, sender: Sender, stream: None) -> None:
    name = user()
    once = sender.event(name)
    sender.send(name, once, once)
    sender.send(name, once, sender.event(name))
    wait_until_read(settings)
    assert value(settings, name, "page_view_total_count") == 2


def test_profile_and_context_travel_with_the_event(settings: Settings, sender: Sender, stream: None) -> None:
    name = user()
    sender.profile(name, product="AAA", prior_attempts="2")
    seen = sender.event(name, "Context Observed", topic=CONTEXT, properties={"device": "phone"})
    sender.send(name, seen, topic=CONTEXT)
    wait_until_read(settings)
    before = end_offsets(settings, (ENRICHED,))
    sender.send(name, sender.event(name))
    wait_for(settings, name, "page_view_total_count", 1)
    found = OnlineReader(settings).read(name, NOW())
    assert found is not None
    assert (found.profile["product"], found.profile["prior_attempts"], found.context["device"]) == ("AAA", 2, "phone")
    enriched = [record for _, key, record in records_since(settings, before) if key == name]
    assert [(r["family"], r["profile"]["product"]) for r in enriched] == [("page_view", "AAA")]


def test_a_tombstone_deletes_the_profile(settings: Settings, sender: Sender, stream: None) -> None:
    name = user()
    sender.profile(name, product="AAA")
    wait_until_read(settings)
    sender.send(name, None, topic=PROFILES)
    wait_until_read(settings)
    found = OnlineReader(settings).read(name, NOW())
    assert found is not None
    assert found.profile["product"] is None


def test_traits_and_context_merge_by_field_in_any_order(settings: Settings, sender: Sender, stream: None) -> None:
    name, now_us = user(), NOW()
    sender.profile(name, product="AAA", cohort="May", prior_attempts="2")
    wait_until_read(settings)
    sender.profile(name, name="Ann")
    sender.profile(name, prior_attempts="")
    sender.profile(name, updated_at=now_us - 60_000_000, cohort="April", plan="pro")  # said a minute before
    seen = {"device": "mobile", "os": "ios"}, {"locale": "en-GB"}
    events = (sender.event(name, "Context Observed", topic=CONTEXT, properties=facts) for facts in seen)
    sender.send(name, *events, topic=CONTEXT)
    wait_until_read(settings)
    found = OnlineReader(settings).read(name, NOW())
    assert found is not None
    profile = {key: found.profile[key] for key in ("product", "cohort", "plan", "prior_attempts")}
    assert profile == {"product": "AAA", "cohort": "May", "plan": "pro", "prior_attempts": None}
    assert {key: found.context[key] for key in ("device", "os", "locale")} == {**seen[0], **seen[1]}
    sender.profile(name, is_whole=True, role="admin")
    wait_until_read(settings)
    found = OnlineReader(settings).read(name, NOW())
    assert found is not None
    assert {key: text for key, text in found.profile.items() if text and key != PROFILE_TIME} == {"role": "admin"}


def test_a_profile_newer_than_a_deletion_outlives_it_in_one_batch(
    settings: Settings, sender: Sender, stream: None
) -> None:
    name = user()
    old = sender.writers[PROFILES].encode(profile_record(name, NOW() - 60_000_000, plan="old"))
    new = sender.writers[PROFILES].encode(profile_record(name, NOW() + 30_000_000, plan="new"))
    sender.send(name, old, None, new, topic=PROFILES)
    wait_until_read(settings)
    found = OnlineReader(settings).read(name, NOW())
    assert found is not None
    assert found.profile["plan"] == "new"


def profile_record(name: str, at_us: int, **traits: str) -> dict[str, Any]:
    return {
        "message_id": str(uuid.uuid4()),
        "user_id": name,
        "updated_at": at_us,
        "received_at": at_us,
        "traits": traits,
    }


def test_bad_records_are_dead_letters_with_a_reason_and_nothing_else_is_lost(
    settings: Settings, sender: Sender, stream: None
) -> None:
    name, before = user(), end_offsets(settings, (DEAD_LETTERS,))
    good = sender.event(name)
    bad = {
        "bad_magic": b"\x01" + good[1:],
        "unknown_schema": HEADER.pack(0, 2_000_000_000) + good[HEADER.size :],
        "undecodable": good[: HEADER.size + 4],
        "impossible_time": sender.event(name, event_time=5),
        "impossible_weight": sender.event(name, weight=-1),
        "oversized": sender.event(name, properties={"x": "y" * 70_000}),
    }
    sender.send(name, *bad.values(), good)
    sender.producer.send(USER_ACTIONS, key=None, value=good)
    sender.producer.flush()
    wait_for(settings, name, "page_view_total_count", 1)
    wait_until_read(settings)
    reader = end_offsets(settings, (DEAD_LETTERS,))
    assert sum(reader.values()) - sum(before.values()) == len(bad) + 1
    letters = dead_letters_since(settings, before)
    assert {record["reason"]: record["value"] for record in letters} == {**bad, "missing_key": good}
    assert {record["source_topic"] for record in letters} == {USER_ACTIONS}


def dead_letters_since(settings: Settings, before: dict[tuple[str, int], int]) -> list[dict[str, Any]]:
    from confluent_kafka import TopicPartition

    from firstmile.broker import consumer
    from firstmile.wire import RecordReader

    reader = consumer(settings, group=f"test-{uuid.uuid4()}")
    reader.assign([TopicPartition(topic, number, offset) for (topic, number), offset in before.items()])
    n_left = sum(end_offsets(settings, (DEAD_LETTERS,)).values()) - sum(before.values())
    decoder, found = RecordReader(Registry(settings.registry_url)), []
    while len(found) < n_left:
        message = reader.poll(10)
        assert message is not None, f"only {len(found)} of {n_left} dead letters came"
        found.append(decoder.decode(message.value()))
    reader.close()
    return found


def test_a_newer_writer_needs_no_restart(settings: Settings, sender: Sender, stream: None) -> None:
    schema = json.loads(schema_text(USER_ACTIONS))
    schema["fields"].append({"name": f"added_{uuid.uuid4().hex[:8]}", "type": "string", "default": ""})
    registry, name = Registry(settings.registry_url), user()
    registry.register(USER_ACTIONS, json.dumps(schema))
    newer = RecordWriter(registry, USER_ACTIONS)
    now_us = NOW()
    record = {"message_id": name, "user_id": name, "name": "Page Viewed", "event_time": now_us, "received_at": now_us}
    sender.send(name, newer.encode(record), sender.event(name))
    wait_for(settings, name, "page_view_total_count", 2)


def test_old_and_new_writers_at_once_are_all_read(settings: Settings, sender: Sender, stream: None) -> None:
    """One field added with a default, one optional removed, both beside the schema in use, record by record."""
    base, registry, before = json.loads(schema_text(USER_ACTIONS)), Registry(settings.registry_url), dead_ends(settings)
    added = {"name": f"added_{uuid.uuid4().hex[:8]}", "type": "string", "default": ""}
    fewer = [f for f in base["fields"] if f["name"] != "anonymous_id"]
    texts = [json.dumps(base | {"fields": fields}) for fields in ([*base["fields"], added], fewer)]
    writers = [sender.writers[USER_ACTIONS]]
    for text in texts:
        registry.register(USER_ACTIONS, text)
        writers.append(RecordWriter(Registry(settings.registry_url), USER_ACTIONS))
    assert len({HEADER.unpack_from(w.encode(page_view("u")))[1] for w in writers}) == 3
    names = [user() for _ in range(4)]
    for _ in range(5):
        for name in names:
            sender.send(name, *(writer.encode(page_view(name)) for writer in writers))
    for name in names:
        wait_for(settings, name, "page_view_total_count", 15)
    wait_until_read(settings)
    assert dead_ends(settings) == before


def page_view(name: str) -> dict[str, Any]:
    now_us = NOW()
    return {
        "message_id": str(uuid.uuid4()),
        "user_id": name,
        "name": "Page Viewed",
        "event_time": now_us,
        "received_at": now_us,
    }


def dead_ends(settings: Settings) -> dict[tuple[str, int], int]:
    return end_offsets(settings, (DEAD_LETTERS,))


ODD_TIMES = ("²", "1795434000000", "1795434000", "soon", "9" * 18)
ODD_NUMBERS = ("²", "1", "nan", "1e400", "")
"""What no batch job may stop at."""


def test_the_lake_folds_to_the_same_rows(settings: Settings, sender: Sender, stream: None) -> None:
    names = [user() for _ in range(5)]
    for i, name in enumerate(names):
        opened = {"content_id": f"c{i}", "format": "quiz", "onboarding_at": ODD_TIMES[i]}
        sender.profile(name, plan=f"p{i}", prior_attempts=ODD_NUMBERS[i])  # with the events: they do not meet it
        sender.profile(name, role="admin")
        sender.send(name, *(sender.event(name, "Content Opened", properties=opened) for _ in range(3 + i)))
    sender.send(names[0], None, topic=PROFILES)
    wait_until_read(settings)
    done = run(settings, "archive", "--once")
    assert done.returncode == 0, done.stderr[-3000:]
    assert backfill_lake(settings)["n_unusable_onboarding"] >= len(names)

    import duckdb

    history = str(settings.history / "user_activity" / "lake.parquet")
    query = f"SELECT user_id, arg_max(activity, event_timestamp) FROM '{history}' GROUP BY user_id"
    offline = {name: bytes(packed) for name, packed in duckdb.sql(query).fetchall()}
    online = read_users(connect(settings.redis_url, timeout_s=5), names)
    assert {name: offline[name] for name in names} == dict(zip(names, online.activity, strict=True))

    history = str(settings.history / "user_profile" / "lake.parquet")
    query = (
        f"SELECT * FROM '{history}' QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY event_timestamp DESC) = 1"
    )
    told = {row["user_id"]: PROFILE_VIEW.read(row) for row in duckdb.sql(query).to_arrow_table().to_pylist()}
    assert [told[name] for name in names] == [online.profile(i) for i in range(len(names))]
    assert [told[name].values for name in names[:2]] == [{}, {"plan": "p1", "role": "admin", "prior_attempts": "1"}]


def n_applied(settings: Settings) -> int:
    records = progress.read(connect(settings.redis_url, timeout_s=5), end_offsets(settings, STREAM_TOPICS))
    return sum(record.next_offset for record in records.values())


def test_a_killed_stream_loses_and_doubles_nothing(stack: Settings, sender: Sender, tmp_path: Path) -> None:
    """kill -9 in the middle of a backlog, twice, then let it finish."""
    small_batches = stack.stream.model_copy(update={"max_offsets_per_trigger": 200})
    own = stack.model_copy(update={"home": tmp_path, "stream": small_batches})
    names = [user() for _ in range(20)]
    for is_last in (False, False, True):
        before = n_applied(own)
        for name in names:
            sender.send(name, *(sender.event(name) for _ in range(30)))
        with running(own, ["stream"], tmp_path / "stream.log") as process:
            if is_last:
                wait_until_read(own)
                continue
            poll(lambda before=before: n_applied(own) > before, what="some progress")  # type: ignore[misc]
            process.kill()
            process.wait()
    assert {value(own, name, "page_view_total_count") for name in names} == {90.0}

"""Decoding, in Python and by a real Spark: both say the same of any bytes, as rows or reasons; the beginning of an
enriched event that they encode, and what is appended to it, are one record."""

import io
import random
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from firstmile.clock import SystemClock
from firstmile.names import CONTEXT, ENRICHED, PROFILES, STREAM_TOPICS, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import HEADER, RecordReader, RecordWriter, Registry
from pipelines.clean import clean, read_mapping
from pipelines.decode import WriterSchemas, decoded, raw
from pipelines.decode_plan import Reading, prefix_fields
from pipelines.enrich import SideOutputs
from pipelines.spark import spark_session

NOW = SystemClock().now_us
KAFKA = "topic string, partition int, offset bigint, timestamp timestamp, key binary, value binary"
TOPIC_IDS = {topic: f"id-of-{topic}" for topic in STREAM_TOPICS}


@pytest.fixture(scope="module")
def spark(stack: Settings) -> Iterator[SparkSession]:
    session = spark_session(stack, "test")
    yield session
    session.stop()


@pytest.fixture(params=[0, 1_000], ids=["spark", "python"])
def few(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def table_of(
    spark: SparkSession, settings: Settings, values: list[bytes | None], few: int, topic: str = USER_ACTIONS
) -> pa.Table:
    rows = [(topic, 0, i, datetime.now(UTC), b"u1", value) for i, value in enumerate(values)]
    return table_of_rows(spark, settings, rows, few)


def table_of_rows(spark: SparkSession, settings: Settings, rows: list[Any], few: int) -> pa.Table:
    schemas = WriterSchemas(Registry(settings.registry_url))
    schemas.learn_latest()
    reading = Reading(topic_ids=TOPIC_IDS, watched=("internal",))
    return decoded(raw(spark.createDataFrame(rows, KAFKA)), len(rows), schemas, reading, few=few)


def test_both_parts_together_read_as_one_enriched_event(spark: SparkSession, stack: Settings, few: int) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    base = {"user_id": "u1", "name": "Content Opened", "event_time": now_us, "received_at": now_us, "weight": 3}
    said = {"content_id": "c é", "format": "quiz", "step": "it's", "target": "save", "odd\\": "🚀"}
    records = [
        {**base, "message_id": str(uuid.uuid4()), "properties": said},
        {**base, "message_id": str(uuid.uuid4()), "event_time": now_us + 5_000_000, "anonymous_id": "a1"},
        {**base, "message_id": str(uuid.uuid4()), "name": "Nobody Mapped This", "user_id": "u2", "weight": 0},
    ]
    table = table_of(spark, stack, [writer.encode(record) for record in records], few)
    assert table["reason"].to_pylist() == [None] * 3
    events = clean(table.to_pandas(), read_mapping())
    outputs = SideOutputs(Registry(stack.registry_url), TOPIC_IDS)
    segments = np.array(["unknown/new", "unknown/new", "beginner/active"], object)
    found = outputs.enriched(events, {"u1": {"plan": "pro", "profile_updated_us": 17}}, segments)
    read = RecordReader(Registry(stack.registry_url))
    one, clamped, unknown = (read.decode(value) for _, value in found)
    assert [key for key, _ in found] == [b"u1", b"u1", b"u2"]
    assert one["properties"] == said
    assert (one["source_topic_id"], one["source_offset"], one["weight"]) == (f"id-of-{USER_ACTIONS}", 0, 3)
    assert (one["content_id"], one["step"], one["target"], one["page"]) == ("c é", "it's", "save", None)
    assert (one["family"], one["format"], one["is_clamped"]) == ("content_open", "quiz", False)
    assert (one["segment"], unknown["segment"]) == ("unknown/new", "beginner/active")
    assert (one["profile"], one["profile_version"]) == ({"plan": "pro"}, 17)
    assert clamped["is_clamped"]
    assert clamped["event_time"] == clamped["received_at"] == one["received_at"]
    assert clamped["anonymous_id"] == "a1"
    assert (unknown["family"], unknown["format"], unknown["profile"]) == ("unknown", None, {})
    # Nothing is left over: the same record written whole has the same bytes.
    for record, (_, value) in zip((one, clamped, unknown), found, strict=True):
        assert RecordWriter(Registry(stack.registry_url), ENRICHED).encode(record) == value


def test_properties_come_to_python_only_where_somebody_looks_at_them(
    spark: SparkSession, stack: Settings, few: int
) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    base = {"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us}
    values = [
        writer.encode({**base, "message_id": "a", "properties": {"plain": "1"}}),
        writer.encode({**base, "message_id": "b", "properties": {"internal": "true", "plain": "1"}}),
    ]
    plain, watched = table_of(spark, stack, values, few)["properties"].to_pylist()
    assert plain is None
    assert dict(watched) == {"internal": "true", "plain": "1"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "bad_magic"),
        (b"\x00", "bad_magic"),
        (b"\xff" * 40, "bad_magic"),
        (b"\x00\xff\xff\xff\xff" + b"x" * 20, "unknown_schema"),
        (b"\x00\x7f\xff\xff\xff", "unknown_schema"),
        (None, "undecodable"),
    ],
)
def test_any_bytes_get_a_reason_and_stop_nothing(
    spark: SparkSession, stack: Settings, few: int, value: bytes | None, reason: str
) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    good = writer.encode({"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us, "message_id": "a"})
    table = table_of(spark, stack, [value, good], few)
    by_offset = dict(zip(table["offset"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert by_offset == {0: reason, 1: None}


def test_a_truncated_body_is_undecodable(spark: SparkSession, stack: Settings, few: int) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    good = writer.encode({"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us, "message_id": "a"})
    table = table_of(spark, stack, [good[:n] for n in range(HEADER.size, len(good))], few)
    assert set(table["reason"].to_pylist()) == {"undecodable"}


def test_python_and_spark_say_the_same_of_whole_and_of_broken_records(spark: SparkSession, stack: Settings) -> None:
    rng = random.Random(20261125)
    rows = [row for seed in range(300) for row in _some_rows(RecordWriters(stack), rng, seed)]
    both = [table_of_rows(spark, stack, rows, few).to_pylist() for few in (0, len(rows))]
    by_offset = [{row["offset"]: row for row in rows} for rows in both]
    reasons = {row["reason"] for row in both[0]}
    assert reasons >= {None, "undecodable", "impossible_time", "impossible_weight", "missing_key", "tombstone"}
    for offset, by_spark in by_offset[0].items():
        by_python = by_offset[1][offset]
        told = POSITION if by_spark["reason"] else by_spark.keys()
        assert said_by(by_python, told) == said_by(by_spark, told), offset
    assert [row["offset"] for row in both[0] if not row["reason"]] == [r["offset"] for r in both[1] if not r["reason"]]


def said_by(row: dict[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Maps have no order."""
    plain = {name: row[name] for name in columns}
    if plain.get("enriched"):
        schema = fastavro.parse_schema({"type": "record", "name": "Prefix", "fields": prefix_fields()[0]})
        plain["enriched"] = fastavro.schemaless_reader(io.BytesIO(plain["enriched"]), schema, None)
    return {**plain, "properties": dict(plain.get("properties") or [])}


POSITION = ("topic", "partition", "offset", "at_us", "key", "value", "schema_id", "reason")


class RecordWriters:
    """Of the topics in the test below."""

    def __init__(self, settings: Settings) -> None:
        registry = Registry(settings.registry_url)
        self.by_topic = {topic: RecordWriter(registry, topic) for topic in (USER_ACTIONS, CONTEXT, PROFILES)}


def _some_rows(writers: RecordWriters, rng: random.Random, i: int) -> list[tuple[Any, ...]]:
    """A record that may have something odd about it, and the same with some of its bytes changed."""
    topic, now_us = rng.choice(list(writers.by_topic)), NOW()
    words = ("", " 17 ", "1.5", "-3", "+9", "99999999999999999999", "é 🚀", "true", "a\x00b")
    said = {name: rng.choice(words) for name in rng.sample(NAMES, rng.randint(0, 4))}
    at_us = now_us + rng.choice((0, 0, 0, 1_000_000, 90_000_000_000, -now_us, 1 << 60))
    record = {
        "message_id": f"m{i}",
        "user_id": rng.choice(("u1", "ü", "")),
        "received_at": now_us + rng.choice((0, 0, 1)),
    }
    if topic == PROFILES:
        record |= {"updated_at": at_us, "traits": said}
    else:
        record |= {"event_time": at_us, "properties": said, "name": "x", "weight": rng.choice((1, 7, 0, -1, 1 << 50))}
        record |= {name: rng.choice((None, given)) for name, given in (("anonymous_id", "a"), ("consent", True))}
    whole = writers.by_topic[topic].encode(record)
    broken = bytearray(whole)
    for _ in range(rng.randint(1, 3)):
        broken[rng.randrange(HEADER.size, len(broken))] = rng.randrange(256)
    key = rng.choice((b"u1", b"u1", b"u1", b"", None))
    values = (whole, bytes(broken), rng.choice((None, whole[: rng.randrange(len(whole))])))
    at = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    return [(topic, i % 2, 3 * i + k, at, key, value) for k, value in enumerate(values)]


NAMES = ("content_id", "format", "step", "onboarding_at", "internal", "field_name", "page", "x")

"""Decoding on a real Spark: the beginning of an enriched event that the JVM encodes, and what Python appends, are one
record; any bytes at all come through as rows or reasons."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import types as T  # noqa: N812 - the name every Spark text uses

from firstmile.clock import SystemClock
from firstmile.names import ENRICHED, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import HEADER, RecordReader, RecordWriter, Registry
from pipelines.clean import clean, read_mapping
from pipelines.decode import WriterSchemas, decoded, planned
from pipelines.decode_plan import Reading
from pipelines.enrich import SideOutputs
from pipelines.spark import spark_session

NOW = SystemClock().now_us
KAFKA = T.StructType(
    [
        T.StructField("topic", T.StringType()),
        T.StructField("partition", T.IntegerType()),
        T.StructField("offset", T.LongType()),
        T.StructField("timestamp", T.TimestampType()),
        T.StructField("key", T.BinaryType()),
        T.StructField("value", T.BinaryType()),
    ]
)
TOPIC_IDS = {USER_ACTIONS: "id-of-actions"}


@pytest.fixture(scope="module")
def spark(stack: Settings) -> Iterator[SparkSession]:
    session = spark_session(stack, "test")
    yield session
    session.stop()


def table_of(
    spark: SparkSession, settings: Settings, values: list[bytes | None], topic: str = USER_ACTIONS
) -> pa.Table:
    rows = [(topic, 0, i, datetime.now(UTC), b"u1", value) for i, value in enumerate(values)]
    schemas = WriterSchemas(Registry(settings.registry_url))
    schemas.learn_latest()
    reading = Reading(topic_ids=TOPIC_IDS, watched=("internal",))
    return decoded(planned(spark.createDataFrame(rows, KAFKA), schemas, reading), schemas, reading)


def test_both_parts_together_read_as_one_enriched_event(spark: SparkSession, stack: Settings) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    base = {"user_id": "u1", "name": "Content Opened", "event_time": now_us, "received_at": now_us, "weight": 3}
    said = {"content_id": "c é", "format": "quiz", "step": "it's", "target": "save", "odd\\": "🚀"}
    records = [
        {**base, "message_id": str(uuid.uuid4()), "properties": said},
        {**base, "message_id": str(uuid.uuid4()), "event_time": now_us + 5_000_000, "anonymous_id": "a1"},
        {**base, "message_id": str(uuid.uuid4()), "name": "Nobody Mapped This", "user_id": "u2", "weight": 0},
    ]
    table = table_of(spark, stack, [writer.encode(record) for record in records])
    assert table["reason"].to_pylist() == [None] * 3
    events = clean(table.to_pandas(), read_mapping())
    outputs = SideOutputs(Registry(stack.registry_url), TOPIC_IDS)
    segments = np.array(["unknown/new", "unknown/new", "beginner/active"], object)
    found = outputs.enriched(events, {"u1": {"plan": "pro", "profile_updated_us": 17}}, segments)
    read = RecordReader(Registry(stack.registry_url))
    one, clamped, unknown = (read.decode(value) for _, value in found)
    assert [key for key, _ in found] == [b"u1", b"u1", b"u2"]
    assert one["properties"] == said
    assert (one["source_topic_id"], one["source_offset"], one["weight"]) == ("id-of-actions", 0, 3)
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


def test_properties_come_to_python_only_where_somebody_looks_at_them(spark: SparkSession, stack: Settings) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    base = {"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us}
    values = [
        writer.encode({**base, "message_id": "a", "properties": {"plain": "1"}}),
        writer.encode({**base, "message_id": "b", "properties": {"internal": "true", "plain": "1"}}),
    ]
    plain, watched = table_of(spark, stack, values)["properties"].to_pylist()
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
    spark: SparkSession, stack: Settings, value: bytes | None, reason: str
) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    good = writer.encode({"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us, "message_id": "a"})
    table = table_of(spark, stack, [value, good])
    by_offset = dict(zip(table["offset"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert by_offset == {0: reason, 1: None}


def test_a_truncated_body_is_undecodable(spark: SparkSession, stack: Settings) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    good = writer.encode({"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us, "message_id": "a"})
    table = table_of(spark, stack, [good[:n] for n in range(HEADER.size, len(good))])
    assert set(table["reason"].to_pylist()) == {"undecodable"}

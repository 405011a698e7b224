"""Decoding, of many records together and of each by itself: both say the same of any bytes, as rows or reasons; the
beginning of an enriched event that they encode, and what is appended to it, are one record."""

import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from demo_product import EVENTS

from firstmile.clock import SystemClock
from firstmile.names import ENRICHED, STREAM_TOPICS, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import HEADER, RecordReader, RecordWriter, Registry
from pipelines.clean import clean, read_mapping
from pipelines.decode import WriterSchemas, decoded
from pipelines.decode_records import decode_records
from pipelines.enrich import SideOutputs
from pipelines.reading import SCHEMA, Reading

NOW = SystemClock().now_us
RAW = pa.schema(list(SCHEMA)[:6])
TOPIC_IDS = {topic: f"id-of-{topic}" for topic in STREAM_TOPICS}


@pytest.fixture(params=["together", "one by one"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def table_of(settings: Settings, values: list[bytes | None], way: str, topic: str = USER_ACTIONS) -> pa.Table:
    return table_of_rows(settings, [(topic, 0, i, NOW(), b"u1", value) for i, value in enumerate(values)], way)


def table_of_rows(settings: Settings, rows: list[Any], way: str) -> pa.Table:
    schemas = WriterSchemas(Registry(settings.registry_url))
    reading = Reading(topic_ids=TOPIC_IDS, watched=("internal",))
    raw = pa.Table.from_arrays([list(each) for each in zip(*rows, strict=True)], schema=RAW)
    if way == "together":
        return decoded(raw, schemas, reading)
    return decode_records(raw, schemas.text, reading).sort_by([("received_us", "ascending"), ("offset", "ascending")])


def test_both_parts_together_read_as_one_enriched_event(stack: Settings, way: str) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    base = {"user_id": "u1", "name": "Content Opened", "event_time": now_us, "received_at": now_us, "weight": 3}
    said = {"content_id": "c é", "format": "quiz", "step": "it's", "target": "save", "odd\\": "🚀"}
    records = [
        {**base, "message_id": str(uuid.uuid4()), "properties": said},
        {**base, "message_id": str(uuid.uuid4()), "event_time": now_us + 5_000_000, "anonymous_id": "a1"},
        {**base, "message_id": str(uuid.uuid4()), "name": "Nobody Mapped This", "user_id": "u2", "weight": 0},
    ]
    table = table_of(stack, [writer.encode(record) for record in records], way)
    assert table["reason"].to_pylist() == [None] * 3
    events = clean(table.to_pandas(), read_mapping(EVENTS))
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


def test_properties_come_to_python_only_where_somebody_looks_at_them(stack: Settings, way: str) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    base = {"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us}
    values = [
        writer.encode({**base, "message_id": "a", "properties": {"plain": "1"}}),
        writer.encode({**base, "message_id": "b", "properties": {"internal": "true", "plain": "1"}}),
    ]
    plain, watched = table_of(stack, values, way)["properties"].to_pylist()
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
def test_any_bytes_get_a_reason_and_stop_nothing(stack: Settings, way: str, value: bytes | None, reason: str) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    good = writer.encode({"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us, "message_id": "a"})
    table = table_of(stack, [value, good], way)
    by_offset = dict(zip(table["offset"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert by_offset == {0: reason, 1: None}


def test_a_truncated_body_is_undecodable(stack: Settings, way: str) -> None:
    writer, now_us = RecordWriter(Registry(stack.registry_url), USER_ACTIONS), NOW()
    good = writer.encode({"user_id": "u1", "name": "x", "event_time": now_us, "received_at": now_us, "message_id": "a"})
    table = table_of(stack, [good[:n] for n in range(HEADER.size, len(good))], way)
    assert set(table["reason"].to_pylist()) == {"undecodable"}

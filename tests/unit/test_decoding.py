"""Decoding many records together says of any bytes what decoding each by itself says."""

import io
import random
import uuid
from functools import cache
from typing import Any

import fastavro
import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstmile.names import CONTEXT, PROFILES, STREAM_TOPICS, SYSTEM_LOGS, USER_ACTIONS
from firstmile.wire import HEADER
from pipelines.avro_columns import MAX_ENTRIES, PADDING, Bodies, Field, encoded, layout, texts
from pipelines.decode_columns import decode_columns
from pipelines.decode_records import decode_records
from pipelines.reading import SCHEMA, Reading
from pipelines.topics import schema_text

NOW_US = 1_795_650_000_000_000
READING = Reading(
    {**Reading().fields, "step": ("step", "onboarding_step"), "field": ("field_name",)},
    topic_ids={topic: f"id-of-{topic}" for topic in STREAM_TOPICS},
    watched=("internal",),
)
NAMES = ("content_id", "format", "step", "onboarding_step", "onboarding_at", "internal", "field_name", "page", "x")
WORDS = ("", " 17 ", "1.5", "-3", "+9", "99999999999999999999", "é 🚀", "true", "a\x00b", "of more than twelve bytes")


def schema(topic: str, *, without: tuple[str, ...] = (), more: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    said = orjson.loads(schema_text(topic))
    return {**said, "fields": [*more, *(f for f in said["fields"] if f["name"] not in without)]}


ADDED = ({"name": "plan", "type": ["null", "string"], "default": None}, {"name": "seats", "type": "int", "default": 3})
LISTED = ({"name": "tags", "type": {"type": "array", "items": "string"}, "default": ["a"]},)


def writer_text(topic: str, schema_id: int) -> str | None:
    """1: ours; 2: an older one, without what has a default; 3: a newer one; 4: one that is not plain."""
    optional = tuple(f["name"] for f in schema(topic)["fields"] if "default" in f)
    by_id = {
        1: schema(topic),
        2: schema(topic, without=optional),
        3: schema(topic, more=ADDED),
        4: schema(topic, more=LISTED),
    }
    return orjson.dumps(by_id[schema_id]).decode() if schema_id in by_id else None


@cache
def parsed_writer(topic: str, schema_id: int) -> Any:
    return fastavro.parse_schema(orjson.loads(writer_text(topic, schema_id) or ""))


def body(topic: str, schema_id: int, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(HEADER.pack(0, schema_id))
    fastavro.schemaless_writer(out, parsed_writer(topic, schema_id), record)
    return out.getvalue()


def raw(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_arrays([list(each) for each in zip(*rows, strict=True)], schema=pa.schema(list(SCHEMA)[:6]))


def both(rows: list[tuple[Any, ...]]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Those decoded together, the same one by one, and those that are left."""
    together, left = decode_columns(raw(rows), writer_text, READING)
    read = set(together["offset"].to_pylist())
    one_by_one = decode_records(raw([row for row in rows if row[2] in read]), writer_text, READING)
    return together.sort_by("offset"), one_by_one.sort_by("offset"), left


def odd_rows(rng: random.Random, i: int) -> list[tuple[Any, ...]]:
    """A record that may have something odd about it, the same with some of its bytes changed, and something else."""
    topic, schema_id = rng.choice((USER_ACTIONS, SYSTEM_LOGS, CONTEXT, PROFILES)), rng.choice((1, 1, 2, 3, 4))
    said = {name: rng.choice(WORDS) for name in rng.sample(NAMES, rng.randint(0, 5))}
    at_us = NOW_US + rng.choice((0, 0, 0, 1_000_000, 90_000_000_000, -NOW_US, 1 << 60))
    record: dict[str, Any] = {
        "message_id": f"m{i}",
        "user_id": rng.choice(("u1", "ü", "")),
        "received_at": NOW_US + rng.choice((0, 0, 1)),
        "plan": rng.choice((None, "pro")),
    }
    if topic == PROFILES:
        record |= {"updated_at": at_us, "traits": said}
    else:
        record |= {"event_time": at_us, "properties": said, "name": "x", "weight": rng.choice((1, 7, 0, -1, 1 << 50))}
        record |= {name: rng.choice((None, given)) for name, given in (("anonymous_id", "a"), ("consent", True))}
        record |= {"is_clamped": rng.random() < 0.2, "sent_at": rng.choice((None, at_us))}
    whole = body(topic, schema_id, record)
    broken = bytearray(whole)
    for _ in range(rng.randint(1, 3)):
        broken[rng.randrange(HEADER.size, len(broken))] = rng.randrange(256)
    key = rng.choice((b"u1", b"u1", b"u1", b"", None))
    values = (whole, bytes(broken), rng.choice((None, b"", b"\xff" * 9, whole[: rng.randrange(len(whole))])))
    return [(topic, i % 2, 3 * i + k, NOW_US, key, value) for k, value in enumerate(values)]


@pytest.mark.parametrize("seed", range(6))
def test_together_is_as_one_by_one_for_whole_odd_and_broken_records(seed: int) -> None:
    rng = random.Random(seed)
    rows = [row for i in range(400) for row in odd_rows(rng, i)]
    together, one_by_one, left = both(rows)
    assert together.equals(one_by_one)
    assert together.num_rows + left.num_rows == len(rows)
    # Who is left has a reason, or a schema or a property that is not read together.
    reasons = decode_records(left, writer_text, READING)
    plain = [r for r in reasons.to_pylist() if r["reason"] is None and r["schema_id"] != 4]
    assert len(plain) < together.num_rows / 50


def test_ordinary_records_are_all_read_together() -> None:
    rows = []
    for i in range(12_000):
        said = {"content_id": f"c{i % 7}", "page": "/a" * (i % 30)}
        times = {"event_time": NOW_US - i, "received_at": NOW_US}
        record = {"message_id": str(uuid.UUID(int=i)), "user_id": f"u{i}", "name": "x", "properties": said, **times}
        rows.append((USER_ACTIONS, 0, i << 20, NOW_US, b"k", body(USER_ACTIONS, 1 + i % 3, record)))
    together, one_by_one, left = both(rows)
    assert left.num_rows == 0
    assert together.equals(one_by_one)


def test_what_is_not_looked_for_is_left() -> None:
    base = {"message_id": "a", "user_id": "u", "name": "x", "event_time": NOW_US, "received_at": NOW_US}
    many = body(USER_ACTIONS, 1, {**base, "properties": {f"p{i}": "" for i in range(MAX_ENTRIES + 1)}})
    once = body(USER_ACTIONS, 1, {**base, "properties": {"page": "1", "step": "2"}})
    twice = once.replace(b"step", b"page")
    no_text = once.replace(b"page", b"\xff\xfe\xfdx")
    kept = body(USER_ACTIONS, 1, {**base, "properties": {f"p{i}": "" for i in range(MAX_ENTRIES)}})
    rows = [(USER_ACTIONS, 0, i, NOW_US, b"u", value) for i, value in enumerate((many, twice, no_text, kept, once))]
    together, one_by_one, left = both(rows)
    assert together["offset"].to_pylist() == [3, 4]
    assert together.equals(one_by_one)
    by_offset = {row["offset"]: row for row in decode_records(left, writer_text, READING).to_pylist()}
    assert [by_offset[i]["reason"] for i in range(3)] == [None, None, "undecodable"]
    assert by_offset[1]["page"] == "2"


def test_nothing_comes_to_nothing() -> None:
    together, left = decode_columns(raw([(USER_ACTIONS, 0, 0, 0, b"", b"")]).slice(0, 0), writer_text, READING)
    assert (together.num_rows, left.num_rows) == (0, 0)
    assert together.schema == SCHEMA


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1))
def test_whole_numbers_are_written_as_avro_and_read_back_up_to_eight_bytes(numbers: list[int]) -> None:
    written, size = encoded(np.array(numbers, np.int64))
    pieces = [row[:n].tobytes() for row, n in zip(written, size, strict=True)]
    assert pieces == [_avro(number) for number in numbers]
    data = np.frombuffer(b"".join(pieces) + bytes(PADDING), np.uint8)
    ends = np.cumsum(size)
    bodies = Bodies(data, ends - size, ends)
    column = bodies.read([Field("a", "long", False)])["a"]
    assert bodies.is_sound.tolist() == [len(piece) <= 8 for piece in pieces]
    assert column.value[bodies.is_sound].tolist() == [n for n, ok in zip(numbers, bodies.is_sound, strict=True) if ok]


@given(st.lists(st.one_of(st.none(), st.text()), min_size=1))
def test_texts_are_cut_out(said: list[str | None]) -> None:
    pieces = [(text or "").encode() for text in said]
    length = np.array([len(piece) for piece in pieces])
    data = np.frombuffer(b"".join(pieces) + bytes(PADDING), np.uint8)
    is_null = np.array([text is None for text in said])
    assert texts(data, np.cumsum(length) - length, length, is_null).to_pylist() == said


def test_a_layout_that_is_not_plain_is_none() -> None:
    assert layout(orjson.loads(writer_text(USER_ACTIONS, 4) or "")) is None
    assert layout({"fields": [{"name": "a", "type": ["string", "null"]}]}) is None
    assert layout({"fields": [{"name": "a", "type": "double"}]}) is None


def _avro(number: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    return out.getvalue()

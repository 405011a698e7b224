"""Few Kafka records to the columns of `decode.decoded`, in Python: 70 µs a record, where a plan of Spark's costs 400 ms
a batch before its first record (docs/adr/0007). decode_plan.py says the same of many; a test holds the two together.
"""

import io
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import fastavro
import orjson
import pyarrow as pa

from feature_repo.activity import MAX_EVENT_MS, MAX_WEIGHT
from firstmile.names import CONTEXT, PROFILES
from firstmile.wire import HEADER, MAGIC
from pipelines.decode_plan import (
    EARLIEST_US,
    MAX_AHEAD_US,
    MAX_RECORD_BYTES,
    NEEDS_SCHEMA,
    TEXTS,
    TOMBSTONE,
    VALUES,
    Reading,
    prefix_fields,
)
from pipelines.mapping import FIELDS
from pipelines.topics import schema_text

Record = dict[str, Any]
Learn = Callable[[str, int], str | None]
"""The writer's schema of a topic's record by its id, None when there is none."""

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_BAD_BODY: Final = (EOFError, ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError)
_TYPES: Final[Mapping[str, pa.DataType]] = {
    "topic": pa.string(),
    "partition": pa.int32(),
    "offset": pa.int64(),
    "at_us": pa.int64(),
    "key": pa.binary(),
    "value": pa.binary(),
    "schema_id": pa.int32(),
    "reason": pa.string(),
    **dict.fromkeys(TEXTS, pa.string()),
    **{name: pa.bool_() if name in ("consent", "is_clamped") else pa.int64() for name in VALUES},
    "properties": pa.map_(pa.string(), pa.string()),
    "enriched": pa.binary(),
}
SCHEMA: Final = pa.schema(list(_TYPES.items()))
_RAW: Final = SCHEMA.names[:6]


def decode_records(raw: pa.Table, writer_text: Learn, reading: Reading) -> pa.Table:
    """One row per record, columns of SCHEMA, in the order given.

    raw
        Columns topic, partition, offset, at_us, key, value.
    """
    decode = _Decoder(writer_text, reading)
    rows = zip(*(raw[name].to_pylist() for name in _RAW), strict=True)
    return pa.Table.from_pylist([decode.row(*row) for row in rows], SCHEMA)


class _Decoder:
    """Of one batch."""

    def __init__(self, writer_text: Learn, reading: Reading) -> None:
        self._writer_text, self._reading = cache(writer_text), reading
        self._watched = frozenset(reading.watched)

    def row(
        self, topic: str, partition: int, offset: int, at_us: int, key: bytes | None, value: bytes | None
    ) -> Record:
        """The record's columns; those left out are null."""
        out: Record = {"topic": topic, "partition": partition, "offset": offset, "at_us": at_us, "key": key}
        if value is not None and len(value) >= HEADER.size:
            schema_id = HEADER.unpack_from(value)[1]
            out["schema_id"] = schema_id if schema_id < 1 << 31 else None
        reason = _frame_reason(topic, key, value)
        if reason is None and value is not None:
            text = self._writer_text(topic, out["schema_id"]) if out["schema_id"] is not None else None
            reason = self._read(out, value, text) if text else NEEDS_SCHEMA
        if reason is not None:
            out.update(dict.fromkeys(TEXTS), reason=reason, value=value)
        return out

    def _read(self, out: Record, value: bytes, text: str) -> str | None:
        """Fill in what the body says; the reason when it cannot be used."""
        topic = out["topic"]
        body = io.BytesIO(value)
        body.seek(HEADER.size)
        try:
            said = fastavro.schemaless_reader(body, *_schemas(text, topic))
        except _BAD_BODY:
            return "undecodable"
        properties = said.get("traits" if topic == PROFILES else "properties") or {}
        out |= {name: said.get(name) for name in _SAID}
        out |= {column: said.get(name) for name, column in _TIMES.items()}
        happened = out["updated_us"] if topic == PROFILES else out["event_us"]
        if out["message_id"] is None or out["received_us"] is None or happened is None:
            return "undecodable"
        if out["user_id"] == "":
            return "missing_key"
        if out["weight"] is not None and not 0 <= out["weight"] <= MAX_WEIGHT:
            return "impossible_weight"
        if not _is_possible(happened, out["received_us"], out["at_us"]):
            return "impossible_time"
        if topic == PROFILES:
            out["properties"] = list(properties.items())
            return None
        for name in FIELDS:
            out[name] = next((properties[p] for p in self._reading.fields[name] if p in properties), None)
        out["onboarding_us"] = _whole(properties.get("onboarding_at"))
        if topic == CONTEXT or not self._watched.isdisjoint(properties):
            out["properties"] = list(properties.items())
        topic_id = self._reading.topic_ids.get(topic)
        out["enriched"] = None if topic_id is None else _prefix(out, topic_id, properties)
        return None


_SAID: Final = (
    *("message_id", "user_id", "anonymous_id", "type", "name", "user_agent"),
    *("weight", "consent", "is_clamped"),
)
_TIMES: Final = {
    "event_time": "event_us",
    "sent_at": "sent_us",
    "received_at": "received_us",
    "updated_at": "updated_us",
}


def _frame_reason(topic: str, key: bytes | None, value: bytes | None) -> str | None:
    if not key:
        return "missing_key"
    if value is None:
        return TOMBSTONE if topic == PROFILES else "undecodable"
    if len(value) > MAX_RECORD_BYTES:
        return "oversized"
    return None if len(value) >= HEADER.size and value[0] == MAGIC else "bad_magic"


def _is_possible(happened_us: int, received_us: int, at_us: int) -> bool:
    return EARLIEST_US <= happened_us <= MAX_EVENT_MS * 1_000 and EARLIEST_US <= received_us <= at_us + MAX_AHEAD_US


def _whole(text: str | None) -> int | None:
    """A text as Spark casts it to BIGINT.

    >>> [_whole(text) for text in (" 17 ", "-1", "1.5", "", None, "9" * 19)]
    [17, -1, None, None, None, None]
    """
    found = _WHOLE.fullmatch((text or "").strip())
    number = int(found[0]) if found else None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else None


def _prefix(out: Record, topic_id: str, properties: Mapping[str, str]) -> bytes:
    """The encoded beginning of an enriched event: decode_plan._prefix."""
    event_us, received_us = out["event_us"], out["received_us"]
    record = {
        **out,
        "source_topic": out["topic"],
        "source_topic_id": topic_id,
        "source_partition": out["partition"],
        "source_offset": out["offset"],
        "event_time": min(event_us, received_us),
        "received_at": received_us,
        "is_clamped": bool(out["is_clamped"]) or event_us > received_us,
        "properties": properties,
    }
    body = io.BytesIO()
    fastavro.schemaless_writer(body, _prefix_schema(), record)
    return body.getvalue()


@cache
def _prefix_schema() -> Any:
    return fastavro.parse_schema(_plain({"type": "record", "name": "Prefix", "fields": prefix_fields()[0]}))


@cache
def _schemas(text: str, topic: str) -> tuple[Any, Any]:
    """The writer's, and ours if it is another."""
    writer, reader = (fastavro.parse_schema(_plain(orjson.loads(t))) for t in (text, schema_text(topic)))
    return writer, None if writer == reader else reader


def _plain(schema: Any) -> Any:
    """Without logical types: times stay numbers."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return schema

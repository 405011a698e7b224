"""Kafka records to the columns of `decode.decoded`, one at a time: whatever it is, it becomes a row or gets a reason.

70 µs a record. What is as it should be goes a quicker way, decode_columns.py; this says what that must come to.
"""

import io
from functools import cache
from typing import Any, Final

import fastavro
import pyarrow as pa

from feature_repo.activity import MAX_WEIGHT
from firstmile.names import CONTEXT, PROFILES
from firstmile.wire import HEADER, MAGIC
from pipelines.bounds import EARLIEST_US, LATEST_US, MAX_AHEAD_US, MAX_RECORD_BYTES, ONBOARDING_AT, onboarding_us
from pipelines.enriched_prefix import prefix
from pipelines.mapping import FIELDS
from pipelines.reading import (
    FLAGS,
    NEEDS_SCHEMA,
    SCHEMA,
    TEXTS,
    TIMES,
    TOMBSTONE,
    Learn,
    Reading,
    parsed,
)
from pipelines.topics import schema_text

Record = dict[str, Any]

_BAD_BODY: Final = (EOFError, ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError)
_RAW: Final = SCHEMA.names[:6]
_SAID: Final = (*TEXTS, *FLAGS, "weight")


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
            out.update(dict.fromkeys((*TEXTS, *FIELDS)), reason=reason, value=value)
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
        out |= {column: said.get(name) for name, column in TIMES.items()}
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
        out["onboarding_us"] = onboarding_us(properties.get(ONBOARDING_AT), out["received_us"])
        if topic == CONTEXT or not self._watched.isdisjoint(properties):
            out["properties"] = list(properties.items())
        topic_id = self._reading.topic_ids.get(topic)
        out["enriched"] = None if topic_id is None else prefix({**out, "properties": properties}, topic_id)
        return None


def _frame_reason(topic: str, key: bytes | None, value: bytes | None) -> str | None:
    if not key:
        return "missing_key"
    if value is None:
        return TOMBSTONE if topic == PROFILES else "undecodable"
    if len(value) > MAX_RECORD_BYTES:
        return "oversized"
    return None if len(value) >= HEADER.size and value[0] == MAGIC else "bad_magic"


def _is_possible(happened_us: int, received_us: int, at_us: int) -> bool:
    return EARLIEST_US <= happened_us <= LATEST_US and EARLIEST_US <= received_us <= at_us + MAX_AHEAD_US


@cache
def _schemas(text: str, topic: str) -> tuple[Any, Any]:
    """The writer's, and ours if it is another."""
    writer, reader = (parsed(t) for t in (text, schema_text(topic)))
    return writer, None if writer == reader else reader

"""A dead letter as JSON: what is listed, and what is exported for a person to repair and read back.

In `record` times are ISO 8601 in UTC; numbers are µs since epoch (so are times no calendar has).
"""

import base64
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import fastavro
import orjson

from feature_repo.activity import MAX_EVENT_MS, MAX_WEIGHT
from firstmile.clock import Clock, iso, to_us
from firstmile.errors import WireError
from firstmile.names import PROFILES
from firstmile.wire import HEADER, MAGIC, Record, RecordWriter, Registry
from pipelines.bounds import EARLIEST_US, MAX_AHEAD_US, MAX_RECORD_BYTES
from pipelines.dead_letter_log import DeadLetter

PREVIEW_BYTES = 48

Json = dict[str, Any]


def listed(letter: DeadLetter, how: str | None) -> Json:
    """One entry of the list: where, why, and how the bytes begin."""
    start = (letter.value or b"")[:PREVIEW_BYTES]
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
        "detail": letter.detail,
        "at": _instant(letter.at_us),
        "key": None if letter.key is None else letter.key.decode(errors="replace"),
        "n_bytes": None if letter.value is None else len(letter.value),
        "preview": {"hex": start.hex(" "), "text": start.decode(errors="replace")},
        "replayed": how,
    }


def exported(letter: DeadLetter, how: str | None, bodies: "Bodies") -> Json:
    """One line of an export: all of the letter, and its record where the writer's schema can read the body."""
    entry = listed(letter, how)
    del entry["preview"]
    return entry | {
        "topic_id": letter.topic_id,
        "key_base64": _base64(letter.key),
        "value_base64": _base64(letter.value),
        "record": bodies.read(letter.value or b""),
    }


class Bodies:
    """Avro bodies by the schemas of their writers, to JSON and from it."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry, self._clock = registry, clock
        self._schemas: dict[int, tuple[Any, frozenset[str]] | None] = {}
        self._writers: dict[str, tuple[RecordWriter, list[str], frozenset[str]]] = {}

    def read(self, value: bytes) -> Json | None:
        """The record, if the bytes are framed, their schema is registered and the body fits it."""
        if len(value) < HEADER.size or value[0] != MAGIC:
            return None
        known = self._schema(HEADER.unpack_from(value)[1])
        if known is None:
            return None
        schema, times = known
        try:
            record = fastavro.schemaless_reader(io.BytesIO(value[HEADER.size :]), schema, None)
            shown = {n: _instant(v) if n in times and v is not None else v for n, v in record.items()}
            orjson.dumps(shown)
        except (EOFError, ValueError, IndexError, TypeError, AttributeError, OverflowError):
            return None
        return shown

    def write(self, topic: str, record: Mapping[str, Any]) -> bytes:
        """Framed bytes by the topic's latest schema.

        Raises WireError when the record does not fit, or would be a dead letter again.
        """
        if topic not in self._writers:
            fields = orjson.loads(self._registry.latest(topic)[1])["fields"]
            self._writers[topic] = (RecordWriter(self._registry, topic), [f["name"] for f in fields], _times(fields))
        writer, names, times = self._writers[topic]
        if unknown := sorted(set(record) - set(names)):
            raise WireError(f"unknown fields {', '.join(unknown)}; {topic} has {', '.join(names)}")
        plain = {n: _us(n, v) if n in times and isinstance(v, str) else v for n, v in record.items()}
        value = writer.encode(plain)
        if why := _refusal(topic, plain, len(value), self._clock.now_us()):
            raise WireError(f"it would be a dead letter again: {why}")
        return value

    def _schema(self, schema_id: int) -> tuple[Any, frozenset[str]] | None:
        if schema_id not in self._schemas:
            try:
                fields = orjson.loads(text := self._registry.writer_text(schema_id)).get("fields", [])
                plain = text.replace('"logicalType"', '"loggedAs"')  # an impossible time must read as the number it is
                self._schemas[schema_id] = fastavro.parse_schema(orjson.loads(plain)), _times(fields)
            except (WireError, ValueError, TypeError, KeyError, AttributeError, fastavro.schema.SchemaParseException):
                self._schemas[schema_id] = None
        return self._schemas[schema_id]


def _refusal(topic: str, record: Record, n_bytes: int, now_us: int) -> str | None:
    """What the stream would say of a record that fits its schema (decode._reason holds the same rules)."""
    if not record["user_id"]:
        return "missing_key: user_id is empty"
    if n_bytes > MAX_RECORD_BYTES:
        return f"oversized: {n_bytes} bytes, allowed {MAX_RECORD_BYTES}"
    if not 0 <= record.get("weight", 1) <= MAX_WEIGHT:
        return f"impossible_weight: {record['weight']}, allowed 0 to {MAX_WEIGHT}"
    happened = "updated_at" if topic == PROFILES else "event_time"
    for name, latest_us in ((happened, MAX_EVENT_MS * 1_000), ("received_at", now_us + MAX_AHEAD_US)):
        if not EARLIEST_US <= record[name] <= latest_us:
            allowed = f"{_instant(EARLIEST_US)} to {_instant(latest_us)}"
            return f"impossible_time: {name} {_instant(record[name])}, allowed {allowed}"
    return None


def _times(fields: list[Json]) -> frozenset[str]:
    """Names of the fields that hold µs since epoch."""
    return frozenset(f["name"] for f in fields if b"timestamp-micros" in orjson.dumps(f["type"]))


def _instant(us: int) -> str | int:
    try:
        return iso(us)
    except (OverflowError, ValueError):
        return us


def _us(name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise WireError(f"{name} {text!r} is no instant; write 2026-11-23T10:00:00+00:00, or µs since epoch")
    return to_us(moment)


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()

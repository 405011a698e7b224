"""The decoding of many records as Spark SQL text: Kafka's in, flat columns and reasons out, all in the JVM.

Text, because a plan built column by column from Python costs a call into the JVM for each function.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from feature_repo.activity import MAX_EVENT_MS, MAX_WEIGHT
from firstmile.names import CONTEXT, ENRICHED, EVENT_TOPICS, PROFILES
from firstmile.wire import HEADER, MAGIC
from pipelines.mapping import FIELDS, OWN_FIELDS
from pipelines.topics import schema_text

MAX_RECORD_BYTES: Final = 65_536
EARLIEST_US: Final = 1_104_537_600_000_000
"""2005-01-01: nothing we read happened before it."""
MAX_AHEAD_US: Final = 86_400_000_000
"""A record received more than a day after Kafka had it was stamped by a broken clock."""

TOMBSTONE: Final = "tombstone"
NEEDS_SCHEMA: Final = "unknown_schema"

RAW: Final = ("topic", "partition", "offset", "unix_micros(timestamp) AS at_us", "key", "value")
"""What is read of Kafka's columns."""

Texts = Mapping[str, Mapping[int, str]]
"""Writer schemas: topic → schema id → schema."""
Select = list[str]
"""Expressions of one select, over the columns of the one before."""

TEXTS = ("message_id", "user_id", "anonymous_id", "type", "name", "user_agent", *FIELDS)
VALUES = ("event_us", "sent_us", "received_us", "weight", "consent", "is_clamped", "onboarding_us", "updated_us")


@dataclass(frozen=True)
class Reading:
    """What of a record is read, besides the envelope.

    fields
        For each of mapping.FIELDS the properties it is read from; the first that is present wins.
    watched
        Properties that the rules look at.
    topic_ids
        Topic → Kafka's id of it.
    """

    fields: Mapping[str, Sequence[str]] = field(default_factory=lambda: OWN_FIELDS)
    watched: Sequence[str] = ()
    topic_ids: Mapping[str, str] = field(default_factory=dict)


def selects(texts: Texts, reading: Reading) -> list[Select]:
    """One select after the other, from RAW's columns to those of `decode.decoded`."""
    return [
        _framed(),
        ["*", *_decoded(texts)],
        ["*", *_flat(reading)],
        ["*", f"{_reason()} AS reason"],
        _wanted(reading),
    ]


def prefix_fields() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The fields of an enriched event that the input record alone decides, to `properties`, and those after them.

    The JVM encodes the first, enrich.py appends the others: in Avro a record is its fields one after the other.
    Source: Apache Avro specification, Binary Encoding, Records.
    """
    fields = orjson.loads(schema_text(ENRICHED))["fields"]
    end = next(i for i, f in enumerate(fields) if f["name"] == "properties") + 1
    return fields[:end], fields[end:]


def _framed() -> Select:
    number = "try_cast(conv(hex(substring(value, 2, 4)), 16, 10) AS INT)"  # ids past 2**31 are nobody's
    return [
        *("topic", "partition", "offset", "at_us", "key", "value"),
        f"CASE WHEN length(value) >= {HEADER.size} THEN {number} END AS schema_id",
        f"hex(substring(value, 1, 1)) = '{MAGIC:02X}' AS is_framed",
    ]


def _decoded(texts: Texts) -> Select:
    known = " OR ".join(
        f"(topic = {quoted(topic)} AND schema_id IN ({', '.join(map(str, by_id))}))"
        for topic, by_id in texts.items()
        if by_id
    )
    return [
        f"{_by_schema({topic: texts[topic] for topic in EVENT_TOPICS})} AS e",
        f"{_by_schema({PROFILES: texts[PROFILES]})} AS p",
        f"coalesce({known}, false) AS is_known",
    ]


def _by_schema(texts: Texts) -> str:
    cases = []
    for topic, by_id in texts.items():
        for schema_id, text in by_id.items():
            options = f"map('avroSchema', {quoted(schema_text(topic))}, 'mode', 'PERMISSIVE')"
            body = f"substring(value, {HEADER.size + 1}, length(value))"
            here = f"topic = {quoted(topic)} AND schema_id = {schema_id} AND is_framed"
            cases.append(f"WHEN {here} THEN from_avro({body}, {quoted(text)}, {options})")
    return f"CASE {' '.join(cases)} END"


def _flat(reading: Reading) -> Select:
    columns = {
        "message_id": "coalesce(e.message_id, p.message_id)",
        "user_id": "coalesce(e.user_id, p.user_id)",
        **{name: f"e.{name}" for name in ("anonymous_id", "type", "name", "user_agent")},
        **{name: f"e.{name}" for name in ("weight", "consent", "is_clamped")},
        "event_us": "unix_micros(e.event_time)",
        "sent_us": "unix_micros(e.sent_at)",
        "received_us": "unix_micros(coalesce(e.received_at, p.received_at))",
        **{name: _first_of(reading.fields[name]) for name in FIELDS},
        "onboarding_us": "try_cast(e.properties['onboarding_at'] AS BIGINT)",
        "updated_us": "unix_micros(p.updated_at)",
    }
    return [f"{columns[name]} AS {name}" for name in (*TEXTS, *VALUES)]


def _first_of(properties: Sequence[str]) -> str:
    return f"coalesce({', '.join(f'e.properties[{quoted(name)}]' for name in properties)})"


def _reason() -> str:
    happened = "coalesce(event_us, updated_us)"
    impossible = (
        f"NOT {happened} BETWEEN {EARLIEST_US} AND {MAX_EVENT_MS * 1_000} OR received_us < {EARLIEST_US} "
        f"OR received_us > at_us + {MAX_AHEAD_US}"
    )
    return (
        "CASE WHEN key IS NULL OR length(key) = 0 THEN 'missing_key' "
        f"WHEN topic = {quoted(PROFILES)} AND value IS NULL THEN '{TOMBSTONE}' "
        "WHEN value IS NULL THEN 'undecodable' "
        f"WHEN length(value) > {MAX_RECORD_BYTES} THEN 'oversized' "
        f"WHEN NOT is_framed OR length(value) < {HEADER.size} THEN 'bad_magic' "
        f"WHEN NOT is_known THEN '{NEEDS_SCHEMA}' "
        f"WHEN message_id IS NULL OR received_us IS NULL OR {happened} IS NULL THEN 'undecodable' "
        f"WHEN NOT {_are_texts()} THEN 'undecodable' "
        "WHEN length(user_id) = 0 THEN 'missing_key' "
        f"WHEN NOT weight BETWEEN 0 AND {MAX_WEIGHT} THEN 'impossible_weight' "
        f"WHEN {impossible} THEN 'impossible_time' END"
    )


def _are_texts() -> str:
    """Whether every text is UTF-8, which Avro promises and Spark does not check: joined by a space, so that no two
    broken ones make a whole one, and looked at once."""
    maps = (f"{function}({properties})" for properties in ("e.properties", "p.traits") for function in _KEYS_AND_VALUES)
    return f"is_valid_utf8(concat_ws(' ', {', '.join((*TEXTS, *maps))}))"


_KEYS_AND_VALUES = ("map_keys", "map_values")


def _wanted(reading: Reading) -> Select:
    watched = ", ".join(map(quoted, reading.watched))
    is_watched = f"arrays_overlap(map_keys(e.properties), array({watched}))" if watched else "false"
    properties = (
        f"CASE WHEN reason IS NOT NULL THEN NULL WHEN topic = {quoted(PROFILES)} THEN p.traits "
        f"WHEN topic = {quoted(CONTEXT)} OR {is_watched} THEN e.properties END AS properties"
    )
    kept = "CASE WHEN reason IS NOT NULL THEN value END AS value"
    position = ("topic", "partition", "offset", "at_us", "key")
    # What has a reason may hold texts that Python cannot read.
    texts = (f"CASE WHEN reason IS NULL THEN {name} END AS {name}" for name in TEXTS)
    return [*position, kept, "schema_id", "reason", *texts, *VALUES, properties, f"{_prefix(reading)} AS enriched"]


def _prefix(reading: Reading) -> str:
    ids = " ".join(f"WHEN {quoted(topic)} THEN {quoted(topic_id)}" for topic, topic_id in reading.topic_ids.items())
    if not ids:
        return "CAST(NULL AS BINARY)"
    columns = {
        "source_topic": "topic",
        "source_topic_id": f"CASE topic {ids} END",
        "source_partition": "partition",
        "source_offset": "offset",
        "event_time": "least(event_us, received_us)",
        "received_at": "received_us",
        "is_clamped": "coalesce(is_clamped, false) OR event_us > received_us",
        "properties": "e.properties",
    }
    # Times go as plain numbers, which is how Avro writes them.
    fields = [{**f, "type": "long"} if f["name"] in ("event_time", "received_at") else f for f in prefix_fields()[0]]
    struct = ", ".join(f"{quoted(f['name'])}, {columns.get(f['name'], f['name'])}" for f in fields)
    schema = orjson.dumps({"type": "record", "name": "Prefix", "fields": fields}).decode()
    is_event = f"reason IS NULL AND topic <> {quoted(PROFILES)}"
    return f"CASE WHEN {is_event} THEN to_avro(named_struct({struct}), {quoted(schema)}) END"


def quoted(text: str) -> str:
    """A text as a SQL literal.

    >>> quoted("it's") == "'it" + chr(92) + "'s'"
    True
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

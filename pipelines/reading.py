"""What is read of a Kafka record, and what makes one unusable: for decode_columns.py and decode_records.py alike."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import fastavro
import orjson
import pyarrow as pa

from feature_repo.activity import MAX_EVENT_MS
from feature_repo.row import EARLIEST_MS
from firstmile.names import ENRICHED
from pipelines.mapping import FIELDS, OWN_FIELDS
from pipelines.topics import schema_text

MAX_RECORD_BYTES: Final = 65_536
EARLIEST_US: Final = EARLIEST_MS * 1_000
LATEST_US: Final = MAX_EVENT_MS * 1_000
MAX_AHEAD_US: Final = 86_400_000_000
"""A record received more than a day after Kafka had it was stamped by a broken clock."""

ONBOARDING_AT: Final = "onboarding_at"
"""Property that says when the user's onboarding began, µs since epoch."""
MAX_ONBOARDING_AHEAD_US: Final = 366 * 86_400_000_000
"""Who signs up may do so for a start to come; a year is more than any of them waits."""
UNUSABLE: Final = -1
"""In the place of an onboarding_us that says no possible time; it is counted and left out."""

TOMBSTONE: Final = "tombstone"
NEEDS_SCHEMA: Final = "unknown_schema"

RAW: Final = ("topic", "partition", "offset", "unix_micros(timestamp) AS at_us", "key", "value")
"""What is read of Kafka's columns."""

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)

Learn = Callable[[str, int], str | None]
"""The writer's schema of a topic's record by its id, None when there is none."""

TEXTS: Final = ("message_id", "user_id", "anonymous_id", "type", "name", "user_agent")
TIMES: Final = {
    "event_time": "event_us",
    "sent_at": "sent_us",
    "received_at": "received_us",
    "updated_at": "updated_us",
}
"""Field of a record → column, µs."""
FLAGS: Final = ("consent", "is_clamped", "is_whole")
_TYPES: Final[Mapping[str, pa.DataType]] = {
    "topic": pa.string(),
    "partition": pa.int32(),
    "offset": pa.int64(),
    "at_us": pa.int64(),
    "key": pa.binary(),
    "value": pa.binary(),
    "schema_id": pa.int32(),
    "reason": pa.string(),
    **dict.fromkeys((*TEXTS, *FIELDS), pa.string()),
    **dict.fromkeys((*TIMES.values(), "weight", "onboarding_us"), pa.int64()),
    **dict.fromkeys(FLAGS, pa.bool_()),
    "properties": pa.map_(pa.string(), pa.string()),
    "enriched": pa.binary(),
}
SCHEMA: Final = pa.schema(list(_TYPES.items()))
"""Of a decoded batch."""


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


def whole(text: str | None) -> int | None:
    """A whole number of 64 bits as a text says it, None when it says none.

    >>> [whole(text) for text in (" 17 ", "-1", "1.5", "", None, "9" * 19)]
    [17, -1, None, None, None, None]
    """
    found = _WHOLE.fullmatch((text or "").strip())
    number = int(found[0]) if found else None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else None


def onboarding_us(text: str | None, received_us: int) -> int | None:
    """When an onboarding began, as the property says it; None when nothing is said, UNUSABLE for no possible time:
    before 2005 (as seconds and milliseconds are, read as µs) or over a year after the record was received.

    >>> now = 1_795_650_000_000_000
    >>> [onboarding_us(text, now) for text in ("1795650000000000", None, " ", "²", "1795650000000", "9" * 18)]
    [1795650000000000, None, None, -1, -1, -1]
    """
    if not (text or "").strip():
        return None
    said = whole(text)
    is_possible = said is not None and EARLIEST_US <= said <= received_us + MAX_ONBOARDING_AHEAD_US
    return said if is_possible else UNUSABLE


@cache
def parsed(text: str) -> Any:
    """A schema for fastavro, without logical types: times stay numbers."""
    return fastavro.parse_schema(_plain(orjson.loads(text)))


@cache
def prefix_schema() -> Any:
    """Of the beginning of an enriched event, parsed."""
    return fastavro.parse_schema(_plain({"type": "record", "name": "Prefix", "fields": prefix_fields()[0]}))


def prefix_fields() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The fields of an enriched event that the input record alone decides, to `properties`, and those after them.

    Decoding encodes the first, enrich.py appends the others: in Avro a record is its fields one after the other.
    Source: Apache Avro specification, Binary Encoding, Records.
    """
    fields = orjson.loads(schema_text(ENRICHED))["fields"]
    end = next(i for i, f in enumerate(fields) if f["name"] == "properties") + 1
    return fields[:end], fields[end:]


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return schema

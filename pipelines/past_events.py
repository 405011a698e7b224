"""Past events as rows of the lake: the collector's reading of calls, the stream's cleaning, the time they happened.

What is imported was known when it happened: `received_at` is the event's own time, and the topic id says that it was
imported (names.IMPORTED).
"""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from firstmile.errors import FirstmileError
from firstmile.names import FAMILIES, IMPORTED, PROFILES
from firstmile.wire import Record
from pipelines.bounds import ONBOARDING_AT, onboarding_us
from pipelines.call_fields import CallError
from pipelines.clean import CleanEvents, clean
from pipelines.history import activity_history
from pipelines.mapping import FIELDS, EventMapping
from pipelines.past_columns import Columns
from pipelines.past_files import Row, Unreadable
from pipelines.rules import Rules
from pipelines.statements import archived_records
from pipelines.tracking import Arrival, map_call

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "firstmile:past-events")
_TEXTS = pa.map_(pa.string(), pa.string())
_LAKE: Final = pa.schema(
    [
        ("enriched_partition", pa.int32()),
        ("source_topic", pa.string()),
        ("source_topic_id", pa.string()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
        *((name, pa.string()) for name in ("message_id", "user_id", "anonymous_id", "name")),
        *((name, pa.int64()) for name in ("event_us", "received_us")),
        ("is_clamped", pa.bool_()),
        ("weight", pa.int64()),
        *((name, pa.string()) for name in FIELDS if name != "format"),
        ("properties", _TEXTS),
        *((name, pa.string()) for name in ("family", "format", "segment")),
        ("profile_version", pa.int64()),
        ("profile", _TEXTS),
    ]
)


@dataclass(frozen=True)
class Refused:
    """A row that was not taken."""

    line: int
    code: str
    reason: str


@dataclass
class PastEvents:
    """What calls become: records by topic, and rows that were refused."""

    rules: Rules
    now_us: int
    records: list[tuple[int, str, Record]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)
    _traits: dict[Any, dict[str, Any]] = field(default_factory=dict)

    def take(self, line: int, row: Row | Unreadable, columns: Columns | None) -> None:
        """Take a row: a call in the tracking form, or one that the columns make of it."""
        if isinstance(row, Unreadable):
            self.refused.append(Refused(line, "unreadable", row.reason))
            return
        try:
            for call in [row] if columns is None else self._calls(row, columns):
                self._take_call(line, call)
        except FirstmileError as error:
            self.refused.append(Refused(line, getattr(error, "code", "bad_event"), str(error)))

    def _calls(self, row: Row, columns: Columns) -> Iterator[dict[str, Any]]:
        """The row as a track call, before it an identify when its traits are others than the user's last ones."""
        call, traits = columns.tracking_call(row), columns.traits_of(row)
        user = str(call["userId"])
        if traits and self._traits.get(user) != traits:
            self._traits[user] = traits
            yield {"type": "identify", "traits": traits, **{n: call[n] for n in ("userId", "timestamp")}}
        yield call

    def _take_call(self, line: int, call: dict[str, Any]) -> None:
        call = {name: _parsed(name, value) for name, value in call.items() if name != "sentAt"}
        call.setdefault("type", "track")
        if call.get("timestamp") is None and call.get("originalTimestamp") is None:
            raise CallError("no_time", "there is no timestamp", "say when it happened, as ISO 8601")
        found = map_call(call, Arrival(self.now_us, rules=self.rules), new_id=lambda: self._id(call))
        event = found.records[0][1]
        if event["is_clamped"]:
            raise CallError("bad_time", f"timestamp {call['timestamp']!r} lies in the future", "leave it out")
        for topic, record in found.records:
            self.records.append((line, topic, record | {"received_at": event["event_time"]}))

    def _id(self, call: Mapping[str, Any]) -> str:
        """The same for the same row of any file; of rows that are all alike, each its own."""
        text = orjson.dumps(call, option=orjson.OPT_SORT_KEYS, default=str).decode()
        self._seen[text] += 1
        return str(uuid.uuid5(NAMESPACE, f"{self._seen[text]}/{text}"))


def lake_table(past: PastEvents, mapping: EventMapping, *, topic_id: str) -> tuple[pa.Table, CleanEvents]:
    """Rows of the lake, and the events among them as cleaned.

    topic_id
        Begins with IMPORTED, and tells this import from others.
    """
    frame = pd.DataFrame([_event(i, *each, mapping) for i, each in enumerate(past.records) if each[1] != PROFILES])
    events = clean(frame.sort_values(["received_us", "offset"], ignore_index=True), mapping, past.rules)
    kept = events.frame
    segment_of = np.full(len(kept), "", object)
    for _ in activity_history(events, segment_of=segment_of):
        pass
    family = np.array([*FAMILIES, None], object)[events.family]
    named = kept.assign(family=family, segment=segment_of, enriched_partition=0, source_partition=0)
    named = named.rename(columns={"topic": "source_topic", "offset": "source_offset"})
    rows: list[dict[str, Any]] = [*named.to_dict("records"), *_profile_rows(past)]  # type: ignore[list-item]
    filled = ({name: _value(row.get(name)) for name in _LAKE.names} | _place(topic_id) for row in rows)
    table = pa.Table.from_pylist(list(filled), _LAKE)
    return table.sort_by([("source_topic", "ascending"), ("source_offset", "ascending")]), events


def digest(paths: Iterable[Path]) -> str:
    """Of the files' contents, whatever they are called."""
    found = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return hashlib.sha256("".join(found).encode()).hexdigest()[:16]


def _place(topic_id: str) -> dict[str, Any]:
    return {"source_topic_id": topic_id, "enriched_partition": 0, "source_partition": 0}


def _event(offset: int, line: int, topic: str, record: Record, mapping: EventMapping) -> dict[str, Any]:
    """An event as decoding gives it."""
    said = record["properties"]
    return {
        "topic": topic,
        "topic_id": IMPORTED,
        "partition": 0,
        "offset": offset,
        **{name: record[name] for name in ("message_id", "user_id", "anonymous_id", "name", "weight", "is_clamped")},
        **{name: record[name] for name in ("user_agent", "consent")},
        "event_us": record["event_time"],
        "received_us": record["received_at"],
        "properties": list(said.items()),
        "onboarding_us": onboarding_us(said.get(ONBOARDING_AT), record["received_at"]),
        **{name: next((said[p] for p in mapping.fields[name] if p in said), None) for name in FIELDS},
    }


def _profile_rows(past: PastEvents) -> list[dict[str, Any]]:
    profiles = pd.DataFrame(
        [
            {
                "message_id": record["message_id"],
                "user_id": record["user_id"],
                "updated_us": record["updated_at"],
                "received_us": record["received_at"],
                "properties": list(record["traits"].items()),
                "is_whole": False,
                "partition": 0,
                "offset": offset,
            }
            for offset, (_, topic, record) in enumerate(past.records)
            if topic == PROFILES
        ]
    )
    if profiles.empty:
        return []
    kept = profiles[~past.rules.internal.among(profiles)]
    gone = pa.table({name: pa.array([], kind) for name, kind in _TOMBSTONE.items()})
    return [
        {**record, "event_us": record["event_time"], "received_us": record["received_at"], "weight": 1}
        for record in archived_records(kept, gone)
    ]


_TOMBSTONE: Final = {"key": pa.binary(), "at_us": pa.int64(), "partition": pa.int32(), "offset": pa.int64()}


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return list(value.items())
    return None if isinstance(value, float) and value != value else value


def _parsed(name: str, value: Any) -> Any:
    """An object that a table holds as JSON text, as tables of calls do."""
    if name in ("properties", "traits", "context") and isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value

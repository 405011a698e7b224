"""Side outputs of a batch: good events with the profile they met, bad records with a reason.

Both depend on the input record and the profile alone and carry the record's position, so that a batch done twice gives
records that readers can tell apart from new ones.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.activity import MAX_WEIGHT
from feature_repo.fields import PROFILE_TIME
from firstmile.names import DEAD_LETTERS, ENRICHED, FAMILIES
from firstmile.wire import Record, RecordWriter, Registry
from pipelines.clean import CleanEvents
from pipelines.mapping import FIELDS

_COPIED = ("message_id", "user_id", "anonymous_id", "name", "weight", *FIELDS)


class SideOutputs:
    """Encodes what a batch sends to Kafka besides writing rows."""

    def __init__(self, registry: Registry, topic_ids: Mapping[str, str]) -> None:
        self._enriched = RecordWriter(registry, ENRICHED)
        self._dead = RecordWriter(registry, DEAD_LETTERS)
        self._topic_ids = topic_ids

    def enriched(self, events: CleanEvents, profiles: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
        """(key, value) per event, with the profile as read with the row; by topic, partition and offset."""
        texts = {user: {n: str(v) for n, v in p.items() if n != PROFILE_TIME} for user, p in profiles.items()}
        # In offset order: the archive tells a batch sent again by its offsets.
        order = np.lexsort((events.frame["offset"], events.frame["partition"], events.frame["topic"]))
        rows = events.frame.iloc[order].to_dict("records")
        for row, family in zip(rows, events.family[order].tolist(), strict=True):
            user = row["user_id"]
            record: Record = {name: _none(row.get(name)) for name in _COPIED}
            record |= self._position(row["topic"], row["partition"], row["offset"])
            record |= {
                "family": FAMILIES[family] if family >= 0 else None,
                "event_time": row["event_us"],
                "received_at": row["received_us"],
                "is_clamped": row["is_clamped"],
                "properties": dict(row["properties"]) if row["properties"] is not None else {},
                "profile_version": profiles.get(user, {}).get(PROFILE_TIME),
                "profile": texts.get(user, {}),
            }
            yield user, self._enriched.encode(record)

    def dead_letters(self, table: pa.Table) -> Iterator[tuple[bytes | None, bytes]]:
        """(key, value) per record with a reason."""
        for row in table.to_pylist():
            record: Record = self._position(row["topic"], row["partition"], row["offset"])
            record |= {
                "reason": row["reason"],
                "detail": _detail(row),
                "at": row["at_us"],
                "key": row["key"],
                "value": row["value"],
            }
            yield row["key"], self._dead.encode(record)

    def _position(self, topic: str, partition: int, offset: int) -> Record:
        return {
            "source_topic": topic,
            "source_topic_id": self._topic_ids[topic],
            "source_partition": partition,
            "source_offset": offset,
        }


def _none(value: Any) -> Any:
    # pandas turns a missing text into NaN when a column mixes both.
    return None if value is None or value != value else value


def _detail(row: Record) -> str:
    value = row["value"] or b""
    if row["reason"] == "unknown_schema":
        return f"schema id {row['schema_id']} is not registered, or is no record of {row['topic']}"
    if row["reason"] == "bad_magic":
        return f"first byte is {value[0] if value else None}, a framed record starts with 0 and has 5 bytes or more"
    if row["reason"] == "impossible_time":
        return f"event_time {row['event_us'] or row['updated_us']} µs, received_at {row['received_us']} µs"
    if row["reason"] == "impossible_weight":
        return f"weight {row['weight']}, allowed 0 to {MAX_WEIGHT}"
    if row["reason"] == "oversized":
        return f"{len(value)} bytes"
    return ""

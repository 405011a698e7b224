"""Side outputs of a batch: good events with the profile and segment they met, bad records with a reason.

Both carry the position of their input record, so that readers tell a batch done twice from a new one and keep the
first: what row and profile said may have changed in between.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.activity import MAX_WEIGHT
from feature_repo.fields import PROFILE_TIME
from feature_repo.latest import PROFILE_VIEW
from firstmile.names import DEAD_LETTERS, ENRICHED, FAMILIES, PROFILES
from firstmile.wire import PartWriter, Record, RecordWriter, Registry
from pipelines.clean import CleanEvents
from pipelines.reading import prefix_fields

_OF_KIND = ("family", "format", "segment")
"""What many events of a batch have in common; the rest, after it, is of the user."""


class SideOutputs:
    """Encodes what a batch sends to Kafka besides writing rows."""

    def __init__(self, registry: Registry, topic_ids: Mapping[str, str]) -> None:
        added = prefix_fields()[1]
        self._enriched = RecordWriter(registry, ENRICHED)
        self._head = self._enriched.head
        self._of_kind = PartWriter([f for f in added if f["name"] in _OF_KIND])
        self._of_user = PartWriter([f for f in added if f["name"] not in _OF_KIND])
        self._of_nobody = self._of_user.encode(_said_of_user({}))
        self._dead = RecordWriter(registry, DEAD_LETTERS)
        self._topic_ids = topic_ids

    def enriched(
        self, events: CleanEvents, profiles: Mapping[str, Mapping[str, Any]], segments: NDArray[np.object_]
    ) -> list[tuple[bytes, bytes]]:
        """(key, value) per event, with profile and segment as read with the row; by topic, partition and offset.

        events
            Their frame has a column `enriched`: the beginning of each record, as decoding encoded it.
        segments
            Shape (n_events,), in the order of the frame.
        """
        frame = events.frame
        # In offset order: the archive tells a batch sent again by its offsets.
        order = np.lexsort((frame["offset"], frame["partition"], frame["topic"]))
        columns = [frame[name].to_numpy(object)[order] for name in ("user_id", "enriched", "format")]
        kinds = zip(events.family[order].tolist(), columns[2], segments[order], strict=True)
        key, head = cache(str.encode), self._head
        of_kind = cache(lambda kind: self._of_kind.encode(_said_of_kind(*kind)))
        of_user = cache(lambda user: self._user_part(profiles.get(user)))
        return [
            (key(user), b"".join((head, prefix, of_kind(kind), of_user(user))))
            for user, prefix, kind in zip(columns[0], columns[1], kinds, strict=True)
        ]

    def archived_profiles(self, records: Iterable[Record]) -> list[tuple[bytes, bytes]]:
        """(key, value) per record of `statements.archived_records`."""
        topic_id = {"source_topic_id": self._topic_ids.get(PROFILES)}
        return [(record["user_id"].encode(), self._enriched.encode(topic_id | record)) for record in records]

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

    def _user_part(self, profile: Mapping[str, Any] | None) -> bytes:
        return self._of_user.encode(_said_of_user(profile)) if profile else self._of_nobody

    def _position(self, topic: str, partition: int, offset: int) -> Record:
        return {
            "source_topic": topic,
            "source_topic_id": self._topic_ids[topic],
            "source_partition": partition,
            "source_offset": offset,
        }


def _said_of_kind(family: int, form: Any, segment: str) -> Record:
    return {
        "family": FAMILIES[family] if family >= 0 else None,
        "format": form if isinstance(form, str) else None,
        "segment": segment,
    }


def _said_of_user(profile: Mapping[str, Any]) -> Record:
    texts = {name: str(profile[name]) for name in PROFILE_VIEW.said_names if name in profile}
    return {"profile_version": profile.get(PROFILE_TIME), "profile": texts}


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

"""The beginning of an enriched event, as Avro writes it, cut out of the bytes of its input record.

What the two have in common is copied as it stands; position and times are written anew.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import fastavro
import numpy as np
import pyarrow as pa

from feature_repo.packing import Ints
from pipelines.avro_columns import Bytes, Column, Entries, Mask, encoded, joined
from pipelines.mapping import FIELDS
from pipelines.reading import prefix_fields, prefix_schema

_NULL: Final = b"\x00"
_PRESENT: Final = b"\x02"
"""Of a field that may be null."""


def prefix(record: Mapping[str, Any], topic_id: str) -> bytes:
    """Of one decoded event, a row of `decode.decoded` with all its properties as a dict."""
    event_us, received_us = record["event_us"], record["received_us"]
    said = {
        **record,
        "source_topic": record["topic"],
        "source_topic_id": topic_id,
        "source_partition": record["partition"],
        "source_offset": record["offset"],
        "event_time": min(event_us, received_us),
        "received_at": received_us,
        "is_clamped": bool(record["is_clamped"]) or event_us > received_us,
    }
    body = io.BytesIO()
    fastavro.schemaless_writer(body, prefix_schema(), said)
    return body.getvalue()


@dataclass(frozen=True)
class Source:
    """Where events of one topic come from; arrays of shape (n,)."""

    topic: str
    topic_id: str
    partition: Ints
    offset: Ints


def prefixes(
    data: Bytes, columns: Mapping[str, Column], properties: Entries, *, source: Source, fields: Mapping[str, Ints]
) -> pa.BinaryArray:
    """Of many events, shape (n,).

    data
        Where columns and entries lie.
    fields
        For each of mapping.FIELDS the entry that says it, -1 = none.
    """
    pieces = _Pieces(data, len(source.offset))
    event_us, received_us = columns["event_time"].value, columns["received_at"].value
    is_clamped = (columns["is_clamped"].value != 0) | (event_us > received_us)
    written = {
        "source_topic": pieces.text(source.topic),
        "source_topic_id": pieces.text(source.topic_id),
        "source_partition": pieces.numbers(source.partition),
        "source_offset": pieces.numbers(source.offset),
        "event_time": pieces.numbers(np.minimum(event_us, received_us)),
        "is_clamped": pieces.either(is_clamped, b"\x01", b"\x00"),
    }
    # The last is for -1: nothing.
    begin, end = (np.append(each, 0) for each in (properties.begin, properties.start + properties.length))
    for name in (f["name"] for f in prefix_fields()[0]):
        if name in written:
            pieces.add(*written[name])
        elif name in FIELDS:
            pieces.add(*pieces.either(fields[name] >= 0, _PRESENT, _NULL))
            pieces.add(begin[fields[name]], (end - begin)[fields[name]])
        else:
            pieces.add(columns[name].begin, columns[name].end - columns[name].begin)
    return pieces.joined()


class _Pieces:
    """Pieces of n records: of `data`, or of what is written anew, which comes after it."""

    def __init__(self, data: Bytes, n: int) -> None:
        self._n, self._data, self._n_bytes = n, [data], len(data)
        self._starts: list[Ints] = []
        self._lengths: list[Ints] = []

    def add(self, start: Ints, length: Ints) -> None:
        self._starts.append(start)
        self._lengths.append(length)

    def joined(self) -> pa.BinaryArray:
        return joined(np.concatenate(self._data), np.column_stack(self._starts), np.column_stack(self._lengths))

    def text(self, text: str) -> tuple[Ints, Ints]:
        """The same for all."""
        said = text.encode()
        (head,), (size,) = encoded(np.array([len(said)]))
        return self.either(np.ones(self._n, bool), head[:size].tobytes() + said, b"")

    def either(self, which: Mask, yes: bytes, no: bytes) -> tuple[Ints, Ints]:
        start = self._append(np.frombuffer(yes + no, np.uint8))
        return np.where(which, start, start + len(yes)), np.where(which, len(yes), len(no))

    def numbers(self, values: Ints) -> tuple[Ints, Ints]:
        written, size = encoded(values)
        start = self._append(written.ravel())
        return start + written.shape[1] * np.arange(self._n), size

    def _append(self, more: Bytes) -> int:
        start = self._n_bytes
        self._data.append(more)
        self._n_bytes += len(more)
        return start

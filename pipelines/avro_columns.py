"""Avro bodies of many records read together: one step of numpy per field of all, where a reader of single records
takes one of Python per field of each.

Only what is plain is read: records of texts, whole numbers, booleans and maps of texts, or null. A body that is not
what it should be is marked in `is_sound`; what is the matter with it is for a reader of single records to say.
Source: Apache Avro specification, Binary Encoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.packing import Ints

Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Where = Ints | slice
"""Rows: all, or some by index."""

ALL: Final = slice(None)
PADDING: Final = 16
MAX_ENTRIES: Final = 64
"""Of a map. Every entry is a round over the records that have one; a record with thousands would hold up the others."""
_MAP: Final = {"type": "map", "values": "string"}
_HIGH, _LOW = np.uint64(0x8080808080808080), np.uint64(0x7F7F7F7F7F7F7F7F)
# Seven bits of each byte moved together: first of two neighbours, then of two pairs, then of both halves.
_SQUEEZE: Final = [
    (np.uint64(shift), np.uint64(high), np.uint64(low))
    for shift, high, low in (
        (1, 0x7F007F007F007F00, 0x007F007F007F007F),
        (2, 0x3FFF00003FFF0000, 0x00003FFF00003FFF),
        (4, 0x0FFFFFFF00000000, 0x000000000FFFFFFF),
    )
]
FIRST_BYTES: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
"""What to keep of a word for its first 0 … 8 bytes."""
_ONE: Final = np.uint64(1)


@dataclass(frozen=True)
class Field:
    """A field of a plain record.

    kind
        string, int, long, boolean or map (of texts).
    """

    name: str
    kind: str
    is_nullable: bool


@dataclass
class Column:
    """A field of all records; arrays of shape (n,). Where a record is null, or not sound, the rest means nothing.

    kind
        Of its field.
    value
        Numbers, and booleans as 0 or 1.
    start, length
        Of texts: which bytes of the data.
    begin, end
        Which bytes the field takes, with all that Avro puts before a text.
    entries
        Of maps.
    """

    kind: str
    is_null: Mask
    value: Ints
    start: Ints
    length: Ints
    begin: Ints
    end: Ints
    entries: "Entries | None" = None

    def take(self, chosen: Ints) -> "Column":
        """Of some records, by index, without entries."""
        ints = (self.value, self.start, self.length, self.begin, self.end)
        value, start, length, begin, end = (array[chosen] for array in ints)
        return Column(self.kind, self.is_null[chosen], value, start, length, begin, end)


@dataclass(frozen=True)
class Entries:
    """All entries of a map field, shape (n_entries,): the first of each record, then the second of each, …"""

    row: Ints
    key_start: Ints
    key_length: Ints
    begin: Ints
    start: Ints
    length: Ints

    def take(self, chosen: Ints, n: int) -> "Entries":
        """Those of some of n records, by index, which are renumbered."""
        place = np.full(n, -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        kept = np.flatnonzero(place[self.row] >= 0)
        rest = (self.key_start, self.key_length, self.begin, self.start, self.length)
        return Entries(place[self.row[kept]], *(array[kept] for array in rest))


def layout(schema: Any) -> tuple[Field, ...] | None:
    """The fields of a record schema without logical types, None when it has one that is not plain.

    >>> layout({"type": "record", "fields": [{"name": "a", "type": ["null", "string"]}]})
    (Field(name='a', kind='string', is_nullable=True),)
    """
    found = []
    for each in schema["fields"]:
        kind = each["type"]
        is_nullable = isinstance(kind, list)
        if is_nullable:
            if len(kind) != 2 or kind[0] != "null":
                return None
            kind = kind[1]
        if isinstance(kind, dict) and set(kind) == {"type"}:
            kind = kind["type"]
        if kind == _MAP and not is_nullable:
            kind = "map"
        if kind not in ("string", "int", "long", "boolean", "map"):
            return None
        found.append(Field(each["name"], kind, is_nullable))
    return tuple(found)


@dataclass
class Bodies:
    """Reads the bodies in `data`, a field at a time.

    data
        All bytes, PADDING more than the bodies need.
    at, end
        Shape (n,): where each body is read next, and ends.
    """

    data: Bytes
    at: Ints
    end: Ints
    is_sound: Mask = field(init=False)
    _words: Words = field(init=False)

    def __post_init__(self) -> None:
        self.is_sound = np.ones(len(self.at), bool)
        self._words = words(self.data)

    def read(self, fields: Sequence[Field]) -> dict[str, Column]:
        """Every field, in the order of the schema."""
        return {each.name: self._field(each) for each in fields}

    def _field(self, of: Field) -> Column:
        n, begin = len(self.at), self.at.copy()
        rows: Where = ALL
        is_null = np.zeros(n, bool)
        if of.is_nullable:
            branch = self._long(ALL)
            self._require(ALL, (branch == 0) | (branch == 1))
            is_null = branch != 1
            if is_null.any():
                rows = np.flatnonzero(~is_null)
        value, start, length = np.zeros((3, n), np.int64)
        column = Column(of.kind, is_null, value, start, length, begin, begin)
        if of.kind == "string":
            column.start[rows], column.length[rows] = self._text(rows)
        elif of.kind == "boolean":
            column.value[rows] = self._boolean(rows)
        elif of.kind == "map":
            column.entries = self._map()
        else:
            column.value[rows] = self._long(rows)
        column.end = self.at.copy()
        return column

    def _long(self, rows: Where) -> Ints:
        """A zigzag varint of up to eight bytes: 55 bits; a longer one is not sound."""
        at = self.at[rows]
        values, size = _varints(self._words[at])
        self._move(rows, at, size)
        return values

    def _boolean(self, rows: Where) -> Ints:
        at = self.at[rows]
        value = self.data[at].astype(np.int64)
        self._require(rows, value <= 1)
        self._move(rows, at, np.ones(len(at), np.int64))
        return value

    def _text(self, rows: Where) -> tuple[Ints, Ints]:
        length = self._long(rows)
        start = self.at[rows].copy()
        self._move(rows, start, length)
        fits = (length >= 0) & (length <= self.end[rows] - start)
        return start, np.where(fits, length, 0)

    def _map(self) -> Entries:
        """One block, which is how writers write a map that is not huge; another is not sound."""
        left = self._long(ALL)
        self._require(ALL, (left >= 0) & (left <= MAX_ENTRIES))
        has_entries = np.flatnonzero((left > 0) & self.is_sound)
        rows, parts = has_entries, []
        while len(rows):
            key = self._text(rows)
            begin = self.at[rows]
            parts.append((rows, *key, begin, *self._text(rows)))
            left[rows] -= 1
            rows = rows[(left[rows] > 0) & self.is_sound[rows]]
        self._require(has_entries, self._long(has_entries) == 0)
        empty = (np.empty(0, np.int64),) * 6
        return Entries(*(np.concatenate(each) for each in zip(empty, *parts, strict=True)))

    def _move(self, rows: Where, at: Ints, size: Ints) -> None:
        end = self.end[rows]
        self._require(rows, (size >= 0) & (size <= end - at))
        self.at[rows] = np.minimum(at + np.maximum(size, 0), end)

    def _require(self, rows: Where, is_sound: Mask) -> None:
        self.is_sound[rows] &= is_sound


def words(data: Bytes) -> Words:
    """The eight bytes from each byte on as one number: a view, shape (n_bytes - 7,)."""
    return np.ndarray((len(data) - 7,), np.dtype("<u8"), data, strides=(1,))


def texts(data: Bytes, start: Ints, length: Ints, is_null: Mask | None = None) -> pa.StringArray:
    """Pieces of the data as texts, shape (n,). Raises pyarrow.ArrowInvalid when one is not UTF-8.

    By way of Arrow's views, which say of every text where it lies.
    Source: Apache Arrow columnar format, Variable-size Binary View Layout.
    """
    known = length if is_null is None else np.where(is_null, 0, length)
    view, at = np.empty((len(start), 2), np.uint64), words(data)
    view[:, 0] = known.astype(np.uint64) | (at[start] & FIRST_BYTES[np.minimum(known, 4)]) << np.uint64(32)
    inline = at[start + np.minimum(known, 4)] & FIRST_BYTES[np.clip(known - 4, 0, 8)]
    view[:, 1] = np.where(known <= 12, inline, start.astype(np.uint64) << np.uint64(32))
    valid = None if is_null is None else pa.array(~is_null).buffers()[1]
    views = pa.Array.from_buffers(pa.binary_view(), len(start), [valid, pa.py_buffer(view), pa.py_buffer(data)])
    return views.cast(pa.string())


def joined(data: Bytes, start: Ints, length: Ints) -> pa.BinaryArray:
    """Pieces of the data put together row by row, shape (n,) from (n, n_pieces)."""
    sizes = length.ravel()
    ends = np.cumsum(sizes)
    source = np.arange(ends[-1] if len(ends) else 0) + np.repeat(start.ravel() - (ends - sizes), sizes)
    offsets = np.concatenate(([0], ends.reshape(length.shape)[:, -1])).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data[source])]
    return pa.Array.from_buffers(pa.binary(), len(start), buffers)


def encoded(values: Ints) -> tuple[Bytes, Ints]:
    """Whole numbers as Avro writes them: bytes, shape (n, 10), and how many of each row's count."""
    rest = (values.astype(np.uint64) << _ONE) ^ (values >> 63).astype(np.uint64)
    out, size = np.zeros((len(values), 10), np.uint8), np.ones(len(values), np.int64)
    for i in range(10):
        more = rest > np.uint64(0x7F)
        out[:, i] = (rest & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
        if not more.any():
            break
        size += more
        rest = rest >> np.uint64(7)
    return out, size


def _varints(found: Words) -> tuple[Ints, Ints]:
    """Value and size in bytes of the varint each word begins with; size -1 when it has more than eight bytes."""
    stop = ~found & _HIGH
    lowest = stop & (~stop + _ONE)
    if (lowest == np.uint64(0x80)).all():
        size = np.ones(len(found), np.int64)
        value = found & np.uint64(0x7F)
    else:
        size = np.where(lowest == 0, -1, np.bitwise_count(lowest - _ONE) // 8 + 1).astype(np.int64)
        value = found & ((lowest << _ONE) - _ONE) & _LOW
        for shift, high, low in _SQUEEZE:
            value = ((value & high) >> shift) | (value & low)
    return (value >> _ONE).astype(np.int64) ^ -(value & _ONE).astype(np.int64), size

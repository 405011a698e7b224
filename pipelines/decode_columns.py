"""Kafka records to the columns of `decode.decoded`, all of a batch together: those that are as records should be.

Whoever is not is left for decode_records.py, which looks at one at a time and says why; a test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.activity import MAX_WEIGHT
from feature_repo.packing import Ints
from firstmile.names import CONTEXT, PROFILES
from firstmile.wire import HEADER, MAGIC
from pipelines.avro_columns import FIRST_BYTES, PADDING, Bodies, Bytes, Column, Entries, Mask, texts, words
from pipelines.bounds import EARLIEST_US, LATEST_US, MAX_AHEAD_US, MAX_RECORD_BYTES, ONBOARDING_AT, onboarding_us
from pipelines.enriched_prefix import Source, prefixes
from pipelines.mapping import FIELDS
from pipelines.plain_reading import PlainReading, plain_reading
from pipelines.property_columns import PropertyColumns
from pipelines.reading import (
    SCHEMA,
    TIMES,
    Learn,
    Reading,
)

_PIECE: Final = 8_192
"""Records looked at together: few enough for a core's cache, and for Arrow's offsets of 31 bits."""
_SPREAD: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


def decode_columns(raw: pa.Table, writer_text: Learn, reading: Reading) -> tuple[pa.Table, pa.Table]:
    """The ordinary records with columns of SCHEMA, the others as they came; in no order.

    raw
        Columns topic, partition, offset, at_us, key, value.
    """
    ordinary, others = [SCHEMA.empty_table()], [raw.slice(0, 0)]
    for piece in raw.combine_chunks().to_batches(max_chunksize=_PIECE):
        framed = _framed(piece)
        is_left = np.ones(piece.num_rows, bool)
        for (topic, schema_id), rows in framed.groups().items():
            text = writer_text(topic, schema_id)
            plain = plain_reading(topic, text) if text else None
            if plain is not None:
                decoded, table = _decoded(_read(framed, rows, plain), topic, schema_id, reading)
                ordinary.append(table)
                is_left[decoded.rows] = False
        others.append(pa.Table.from_batches([piece]).filter(pa.array(is_left)))
    return pa.concat_tables(ordinary), pa.concat_tables(others)


@dataclass(frozen=True)
class _Framed:
    """Records of a piece, and where in `data` their values lie."""

    raw: pa.RecordBatch
    data: Bytes
    start: Ints
    end: Ints

    def groups(self) -> dict[tuple[str, int], Ints]:
        """The framed records with a key, by topic and schema id."""
        size, key_size = self.end - self.start, pc.binary_length(self.raw["key"])
        is_framed = np.asarray(pc.fill_null(pc.greater(key_size, 0), False), bool)
        is_framed &= (size >= HEADER.size) & (size <= MAX_RECORD_BYTES) & (self.data[self.start] == MAGIC)
        header = self.data[self.start[:, None] + np.arange(1, HEADER.size)].astype(np.int64)
        schema_id = (header << np.array([24, 16, 8, 0])).sum(axis=1)
        is_framed &= schema_id < 1 << 31  # ids past it are nobody's
        topics = self.raw["topic"].dictionary_encode()
        code = np.asarray(topics.indices, np.int64) << 32 | schema_id
        names = topics.dictionary.to_pylist()
        return {
            (names[each >> 32], each & 0xFFFFFFFF): np.flatnonzero(is_framed & (code == each))
            for each in np.unique(code[is_framed]).tolist()
        }


def _framed(piece: pa.RecordBatch) -> _Framed:
    value = piece["value"]
    _, offsets, data = value.buffers()
    edges = np.frombuffer(offsets, np.int32)[value.offset :][: len(value) + 1].astype(np.int64)
    said = np.frombuffer(data or b"", np.uint8)[edges[0] : edges[-1]]
    edges -= edges[0]
    return _Framed(piece, np.concatenate((said, np.zeros(PADDING, np.uint8))), edges[:-1], edges[1:])


@dataclass(frozen=True)
class _Group:
    """Records of one topic, written with one schema.

    rows
        Shape (n,): which of the piece they are.
    entries
        Of the one map such a record has: properties or traits.
    """

    framed: _Framed
    data: Bytes
    rows: Ints
    columns: Mapping[str, Column]
    entries: Entries

    def where(self, chosen: Mask) -> "_Group":
        """Some of them."""
        if chosen.all():
            return self
        kept = np.flatnonzero(chosen)
        columns = {name: column.take(kept) for name, column in self.columns.items()}
        return replace(self, rows=self.rows[kept], columns=columns, entries=self.entries.take(kept, len(chosen)))


def _read(framed: _Framed, rows: Ints, plain: PlainReading) -> _Group:
    """Those of the rows that are sound."""
    data = framed.data
    bodies = Bodies(data, framed.start[rows] + HEADER.size, framed.end[rows])
    columns = bodies.read(plain.fields)
    if plain.missing:
        at = np.full(len(rows), len(data))
        data = np.concatenate((data, np.frombuffer(plain.defaults, np.uint8), np.zeros(PADDING, np.uint8)))
        columns |= Bodies(data, at, at + len(plain.defaults)).read(plain.missing)
    entries = next(column.entries for column in columns.values() if column.entries is not None)
    return _Group(framed, data, rows, columns, entries).where(bodies.is_sound)


def _decoded(group: _Group, topic: str, schema_id: int, reading: Reading) -> tuple[_Group, pa.Table]:
    good = group.where(_is_possible(group, topic) & ~_says_twice(group))
    try:
        return good, _table(good, topic, schema_id, reading)
    except pa.ArrowInvalid:
        good = good.where(_is_utf8(good))
        return good, _table(good, topic, schema_id, reading)


def _is_possible(group: _Group, topic: str) -> Mask:
    at_us = np.asarray(group.framed.raw["at_us"], np.int64)[group.rows]
    received = group.columns["received_at"].value
    happened = group.columns["updated_at" if topic == PROFILES else "event_time"].value
    is_possible = (happened >= EARLIEST_US) & (happened <= LATEST_US) & (group.columns["user_id"].length > 0)
    is_possible &= (received >= EARLIEST_US) & (received <= at_us + MAX_AHEAD_US)
    if "weight" in group.columns:
        weight = group.columns["weight"].value
        is_possible &= (weight >= 0) & (weight <= MAX_WEIGHT)
    return np.asarray(is_possible, bool)


def _says_twice(group: _Group) -> Mask:
    """Which records have two properties of one name, of which the last counts: that is not looked for here.

    Names are held to be one when they agree in length, first and last bytes.
    """
    of, at = group.entries, words(group.data)
    size = np.minimum(of.key_length, 8)
    first = at[of.key_start] & FIRST_BYTES[size]
    last = at[of.key_start + of.key_length - size] & FIRST_BYTES[size]
    name = first * _SPREAD[0] ^ last * _SPREAD[1] ^ of.key_length.astype(np.uint64)
    order = np.lexsort((name, of.row))
    row, name = of.row[order], name[order]
    out = np.zeros(len(group.rows), bool)
    out[row[1:][(row[1:] == row[:-1]) & (name[1:] == name[:-1])]] = True
    return out


def _is_utf8(group: _Group) -> Mask:
    """Which records have only texts that can be read: asked one by one, once it is known that some have not."""
    of, out = group.entries, np.ones(len(group.rows), bool)
    pieces = [(np.arange(len(out)), column.start, column.length) for column in group.columns.values()]
    pieces += [(of.row, of.key_start, of.key_length), (of.row, of.start, of.length)]
    for rows, start, length in pieces:
        for row, at, size in zip(rows.tolist(), start.tolist(), length.tolist(), strict=True):
            try:
                group.data[at : at + size].tobytes().decode()
            except UnicodeDecodeError:
                out[row] = False
    return out


def _table(group: _Group, topic: str, schema_id: int, reading: Reading) -> pa.Table:
    """Columns of SCHEMA. Raises pyarrow.ArrowInvalid when a text is not UTF-8."""
    n, of = len(group.rows), group.entries
    keys, values = texts(group.data, of.key_start, of.key_length), texts(group.data, of.start, of.length)
    raw = group.framed.raw.take(pa.array(group.rows))
    columns = {name: raw[name] for name in ("topic", "partition", "offset", "at_us", "key")}
    columns["schema_id"] = pa.repeat(pa.scalar(schema_id, pa.int32()), n)
    columns |= _own_columns(group)
    said = PropertyColumns(keys, values, of.row, n)
    if topic == PROFILES:
        columns["properties"] = said.maps(np.ones(n, bool))
    else:
        fields = {name: said.first_of(reading.fields[name]) for name in FIELDS}
        columns |= {name: said.texts(entries) for name, entries in fields.items()}
        began = said.first_of((ONBOARDING_AT,))
        if (began >= 0).any():
            pairs = zip(said.texts(began).to_pylist(), group.columns["received_at"].value.tolist(), strict=True)
            columns["onboarding_us"] = pa.array([onboarding_us(*pair) for pair in pairs], pa.int64())
        columns["properties"] = said.maps(np.full(n, topic == CONTEXT) | said.has_any(reading.watched))
        if topic in reading.topic_ids:
            position = (np.asarray(raw[name], np.int64) for name in ("partition", "offset"))
            source = Source(topic, reading.topic_ids[topic], *position)
            columns["enriched"] = prefixes(group.data, group.columns, of, source=source, fields=fields)
    arrays = [columns[f.name] if f.name in columns else pa.nulls(n, f.type) for f in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _own_columns(group: _Group) -> dict[str, pa.Array]:
    """Of the record's fields, but for the map."""
    out = {}
    for name, column in group.columns.items():
        if column.kind == "string":
            out[name] = texts(group.data, column.start, column.length, column.is_null)
        elif column.kind == "boolean":
            out[name] = pa.array(column.value != 0, mask=column.is_null)
        elif column.kind != "map":
            out[TIMES.get(name, name)] = pa.array(column.value, mask=column.is_null)
    return out

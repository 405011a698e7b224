"""Bytes of a row: a list of unsigned integers per row, each as a varint, coded for many rows at once.

A packed row is `layout, n_1 … n_s, fixed …, section 1, …, section s`: the section counts, a fixed number of values,
then each section's entries of a fixed width. Small numbers cost one byte, so deltas and ages are stored instead of
times. Four bytes of CRC-32 end it: most flipped bits would still read as a row, another one.

Source of the varint: LEB128, as in Protocol Buffers.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from firstmile.compiled import compiled
from firstmile.errors import DataError

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

CHECK_BYTES = 4


class Section(NamedTuple):
    """Entries of many rows: `row` is sorted, shape (n_entries,); `columns` hold values ≥ 0 of the same shape."""

    row: Ints
    columns: tuple[Ints, ...]


def zigzag(values: Ints) -> Ints:
    """Signed to unsigned, small magnitudes staying small.

    >>> zigzag(np.array([0, -1, 1, -2])).tolist()
    [0, 1, 2, 3]
    """
    return (values << 1) ^ (values >> 63)


def row_starts(row: Ints, n: int) -> Ints:
    """First index of each row's entries in a sorted row column, shape (n + 1,)."""
    return np.searchsorted(row, np.arange(n + 1))


@compiled
def deltas(row: Ints, values: Ints) -> Ints:
    """Difference to the entry before within the same row; a row's first entry stays as it is."""
    out = values.copy()
    for i in range(1, len(values)):
        if row[i] == row[i - 1]:
            out[i] = values[i] - values[i - 1]
    return out


@compiled
def undeltas(row: Ints, values: Ints) -> Ints:
    """Inverse of deltas: running sum within each row."""
    out = values.copy()
    for i in range(1, len(values)):
        if row[i] == row[i - 1]:
            out[i] += out[i - 1]
    return out


@compiled
def turned(row: Ints) -> Ints:
    """The order that turns round the entries of each row, shape (n_entries,)."""
    n = len(row)
    order = np.empty(n, np.int64)
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and row[end] == row[begin]:
            end += 1
        for i in range(begin, end):
            order[i] = begin + end - 1 - i
        begin = end
    return order


def pack(layout: int, fixed: Ints, sections: Sequence[Section]) -> list[bytes]:
    """One bytes object per row.

    layout
        Version number of the layout, 0 … 127: the first byte of every row.
    fixed
        Shape (n_fixed, n_rows), non-negative.
    """
    least = min((int(v.min()) for v in (fixed, *(c for s in sections for c in s.columns)) if v.size), default=0)
    if least < 0:
        raise DataError(f"cannot pack the negative value {least}")
    widths = np.array([len(s.columns) for s in sections], np.int64)
    rows = [s.row for s in sections]
    columns = [column for s in sections for column in s.columns]
    data, edges = _written(
        layout,
        fixed,
        widths,
        np.array([len(row) for row in rows], np.int64),
        np.concatenate([*rows, _NONE]),
        np.concatenate([*columns, _NONE]),
    )
    whole, ends = data.tobytes(), edges.tolist()
    return [_sealed(whole[a:b]) for a, b in pairwise(ends)]


def unpack(blobs: Sequence[bytes], *, layout: int, n_fixed: int, widths: Sequence[int]) -> tuple[Ints, list[Section]]:
    """Inverse of pack: fixed values, shape (n_fixed, n_rows), and the sections.

    widths
        Number of columns of each section.

    Raises DataError for bytes of another layout or damaged.
    """
    bodies = _checked(blobs, layout)
    edges = np.cumsum([0, *map(len, bodies)], dtype=np.int64)
    problem, at, fixed, n_entries, rows, columns = _read(
        np.frombuffer(b"".join(bodies), np.uint8), edges, n_fixed, np.array(widths, np.int64)
    )
    if problem:
        raise DataError(f"packed row {at} {_PROBLEMS[problem]}: its bytes are damaged")
    sections, row_at, column_at = [], 0, 0
    for width, n in zip(widths, n_entries.tolist(), strict=True):
        own = tuple(columns[column_at + i * n : column_at + (i + 1) * n] for i in range(width))
        sections.append(Section(rows[row_at : row_at + n], own))
        row_at, column_at = row_at + n, column_at + width * n
    return fixed, sections


def _checked(blobs: Sequence[bytes], layout: int) -> list[bytes]:
    """The varints of each row."""
    found = sorted({blob[0] for blob in blobs if blob} - {layout})
    if found:
        raise DataError(f"packed row layout {found}, this code reads {layout}; rebuild with `firstmile recover`")
    bodies = [blob[:-CHECK_BYTES] for blob in blobs]
    for i, (blob, body) in enumerate(zip(blobs, bodies, strict=True)):
        if crc32(body) != int.from_bytes(blob[-CHECK_BYTES:], "little"):
            raise DataError(
                f"packed row {i} ({len(blob)} bytes) is damaged (checksum); rebuild with `firstmile recover`"
            )
    return bodies


def _sealed(body: bytes) -> bytes:
    return body + crc32(body).to_bytes(CHECK_BYTES, "little")


_NONE = np.zeros(0, np.int64)
_PROBLEMS = {
    1: "is empty or cut short",
    2: "holds a number of more than 63 bits",
    3: "has too few values",
    4: "has another length than its section counts say",
}


@compiled
def _numbers(data: Bytes, edges: Ints) -> tuple[int, int, Ints, Ints]:
    """Which of _PROBLEMS the bodies have that stand in `data` from edge to edge, 0 for none, and in which row; their
    numbers, and where each row's begin and the last one's end."""
    n = len(edges) - 1
    values, starts = np.empty(len(data), np.int64), np.empty(n + 1, np.int64)
    n_values = 0
    for row in range(n):
        starts[row] = n_values
        at, end = edges[row], edges[row + 1]
        if at == end or data[end - 1] >= 0x80:
            return 1, row, values, starts
        while at < end:
            value, shift = np.int64(0), 0
            while data[at] >= 0x80:
                value |= np.int64(data[at] & 0x7F) << shift
                shift += 7
                at += 1
                if shift > 56:
                    return 2, row, values, starts
            values[n_values] = value | (np.int64(data[at]) << shift)
            n_values += 1
            at += 1
    starts[n] = n_values
    return 0, 0, values, starts


@compiled
def _counted(values: Ints, starts: Ints, n_fixed: int, widths: Ints) -> tuple[int, int, Ints]:
    """Which of _PROBLEMS the rows have, and which row; entries of each section in all rows together."""
    n_sections = len(widths)
    head = 1 + n_sections + n_fixed
    n_entries = np.zeros(n_sections, np.int64)
    for row in range(len(starts) - 1):
        size = starts[row + 1] - starts[row]
        if size < head:
            return 3, row, n_entries
        wanted = np.int64(head)
        for k in range(n_sections):
            count = values[starts[row] + 1 + k]
            if count > size:
                return 4, row, n_entries
            wanted += count * widths[k]
            n_entries[k] += count
        if wanted != size:
            return 4, row, n_entries
    return 0, 0, n_entries


@compiled
def _read(data: Bytes, edges: Ints, n_fixed: int, widths: Ints) -> tuple[int, int, Ints, Ints, Ints, Ints]:
    """What `unpack` makes of bodies: which of _PROBLEMS and of which row; the fixed values; entries of each section; of
    all sections one after the other the rows of their entries and their columns."""
    n, n_sections = len(edges) - 1, len(widths)
    fixed, none = np.empty((n_fixed, n), np.int64), np.empty(0, np.int64)
    problem, at_row, values, starts = _numbers(data, edges)
    if problem:
        return problem, at_row, fixed, none, none, none
    problem, at_row, n_entries = _counted(values, starts, n_fixed, widths)
    if problem:
        return problem, at_row, fixed, none, none, none
    rows, columns = np.empty(n_entries.sum(), np.int64), np.empty((n_entries * widths).sum(), np.int64)
    row_at, column_at = np.cumsum(n_entries) - n_entries, np.cumsum(n_entries * widths) - n_entries * widths
    for row in range(n):
        first = starts[row]
        for i in range(n_fixed):
            fixed[i, row] = values[first + 1 + n_sections + i]
        at = first + 1 + n_sections + n_fixed
        for k in range(n_sections):
            for _ in range(values[first + 1 + k]):
                rows[row_at[k]] = row
                for i in range(widths[k]):
                    columns[column_at[k] + i * n_entries[k]] = values[at]
                    at += 1
                row_at[k] += 1
                column_at[k] += 1
    return 0, 0, fixed, n_entries, rows, columns


@compiled
def _written(layout: int, fixed: Ints, widths: Ints, n_entries: Ints, rows: Ints, columns: Ints) -> tuple[Bytes, Ints]:
    """Bodies of packed rows one after the other, and where each begins and the last one ends; as `_read` has them."""
    n_fixed, n = fixed.shape
    n_sections = len(widths)
    row_at, column_at = np.cumsum(n_entries) - n_entries, np.cumsum(n_entries * widths) - n_entries * widths
    row_end = np.cumsum(n_entries)
    n_values = n * (1 + n_sections + n_fixed) + len(columns)
    data, edges = np.empty(9 * n_values, np.uint8), np.zeros(n + 1, np.int64)
    values = np.empty(1 + n_sections + n_fixed + len(columns), np.int64)
    written = 0
    for row in range(n):
        values[0] = layout
        for i in range(n_fixed):
            values[1 + n_sections + i] = fixed[i, row]
        size = 1 + n_sections + n_fixed
        for k in range(n_sections):
            count = 0
            while row_at[k] < row_end[k] and rows[row_at[k]] == row:
                for i in range(widths[k]):
                    values[size] = columns[column_at[k] + i * n_entries[k]]
                    size += 1
                row_at[k] += 1
                column_at[k] += 1
                count += 1
            values[1 + k] = count
        for i in range(size):
            value = values[i]
            while value > 0x7F:
                data[written] = (value & 0x7F) | 0x80
                value >>= 7
                written += 1
            data[written] = value
            written += 1
        edges[row + 1] = written
    return data[:written], edges

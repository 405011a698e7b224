"""Bytes of a row: a list of unsigned integers per row, each as a varint, coded for many rows at once.

A packed row is `layout, n_1 … n_s, fixed …, section 1, …, section s`: the section counts, a fixed number of values,
then each section's entries of a fixed width. Small numbers cost one byte, so deltas and ages are stored instead of
times. Four bytes of CRC-32 end it: most flipped bits would still read as a row, another one.

Source of the varint: LEB128, as in Protocol Buffers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from firstmile.errors import DataError

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

MAX_VARINT_BYTES = 10
CHECK_BYTES = 4


@dataclass(frozen=True)
class Section:
    """Entries of many rows: `row` is sorted, shape (n_entries,); `columns` hold values ≥ 0 of the same shape."""

    row: Ints
    columns: tuple[Ints, ...]


def zigzag(values: Ints) -> Ints:
    """Signed to unsigned, small magnitudes staying small.

    >>> zigzag(np.array([0, -1, 1, -2])).tolist()
    [0, 1, 2, 3]
    """
    return (values << 1) ^ (values >> 63)


def unzigzag(values: Ints) -> Ints:
    """Inverse of zigzag."""
    return (values >> 1) ^ -(values & 1)


def row_starts(row: Ints, n: int) -> Ints:
    """First index of each row's entries in a sorted row column, shape (n + 1,)."""
    return np.searchsorted(row, np.arange(n + 1))


def deltas(row: Ints, values: Ints) -> Ints:
    """Difference to the entry before within the same row; a row's first entry stays as it is."""
    out = values.copy()
    same = row[1:] == row[:-1]
    out[1:][same] -= values[:-1][same]
    return out


def undeltas(row: Ints, values: Ints) -> Ints:
    """Inverse of deltas: running sum within each row."""
    if not len(values):
        return values
    total = np.cumsum(values)
    first = np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))
    before = total[first] - values[first]
    return total - np.repeat(before, np.diff(np.append(first, len(values))))


def pack(layout: int, fixed: Ints, sections: Sequence[Section]) -> list[bytes]:
    """One bytes object per row.

    layout
        Version number of the layout, 0 … 127: the first byte of every row.
    fixed
        Shape (n_rows, n_fixed), non-negative.
    """
    n, n_fixed = fixed.shape
    counts = [np.bincount(s.row, minlength=n) for s in sections]
    head = 1 + len(sections) + n_fixed
    sizes = head + sum((c * len(s.columns) for c, s in zip(counts, sections, strict=True)), np.zeros(n, np.int64))
    starts = np.concatenate(([0], np.cumsum(sizes)))
    flat = np.empty(starts[-1], np.int64)
    heads = np.column_stack([np.full(n, layout), *counts, fixed])
    flat[starts[:-1, None] + np.arange(head)] = heads
    cursor = starts[:-1] + head
    for section, count in zip(sections, counts, strict=True):
        width = len(section.columns)
        within = np.arange(len(section.row)) - np.repeat(np.cumsum(count) - count, count)
        position = cursor[section.row] + within * width
        for i, column in enumerate(section.columns):
            flat[position + i] = column
        cursor = cursor + count * width
    return [body + crc32(body).to_bytes(CHECK_BYTES, "little") for body in _varints(flat, starts)]


def unpack(blobs: Sequence[bytes], *, layout: int, n_fixed: int, widths: Sequence[int]) -> tuple[Ints, list[Section]]:
    """Inverse of pack: fixed values, shape (n_rows, n_fixed), and the sections.

    widths
        Number of columns of each section.

    Raises DataError for bytes of another layout or damaged.
    """
    flat, starts = _integers(_checked(blobs, layout))
    n, head = len(blobs), 1 + len(widths) + n_fixed
    sizes = np.diff(starts)
    if n and sizes.min() < head:
        raise DataError(f"packed row {int(sizes.argmin())} has {int(sizes.min())} values, at least {head} expected")
    heads = flat[starts[:-1, None] + np.arange(head)]
    counts = heads[:, 1 : 1 + len(widths)]
    if n and (counts @ np.array(widths, np.int64) + head != sizes).any():
        raise DataError("a packed row's length disagrees with its section counts: its bytes are damaged")
    cursor = starts[:-1] + head
    sections = []
    for i, width in enumerate(widths):
        count = counts[:, i]
        row = np.repeat(np.arange(n), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        position = cursor[row] + within * width
        sections.append(Section(row, tuple(flat[position + k] for k in range(width))))
        cursor = cursor + count * width
    return heads[:, 1 + len(widths) :], sections


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


def _varints(flat: Ints, starts: Ints) -> list[bytes]:
    if len(flat) and flat.min() < 0:
        raise DataError(f"cannot pack the negative value {int(flat.min())}")
    # Most values take one byte: each further byte is looked at for those alone that have it.
    n_bytes = np.ones(len(flat), np.int64)
    some = np.flatnonzero(flat > 0x7F)
    further = []
    rest = flat[some] >> 7
    while len(some):
        n_bytes[some] += 1
        further.append((some, rest))
        more = rest > 0x7F
        some, rest = some[more], rest[more] >> 7
    ends = np.cumsum(n_bytes)
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    begin = ends - n_bytes
    out[begin] = _seven_bits(flat)
    for k, (some, rest) in enumerate(further, start=1):
        out[begin[some] + k] = _seven_bits(rest)
    edges = np.concatenate(([0], ends))[starts].tolist()
    data = out.tobytes()
    return [data[a:b] for a, b in pairwise(edges)]


def _seven_bits(values: Ints) -> NDArray[np.uint8]:
    """The next byte of a varint: seven bits, and the eighth when more follow."""
    return ((values & 0x7F) | ((values > 0x7F) << 7)).astype(np.uint8)


def _integers(blobs: Sequence[bytes]) -> tuple[Ints, Ints]:
    data = np.frombuffer(b"".join(blobs), np.uint8)
    edges = np.concatenate(([0], np.cumsum([len(b) for b in blobs], dtype=np.int64))).astype(np.int64)
    is_last = data < 0x80
    n_before = np.concatenate(([0], np.cumsum(is_last)))
    starts = n_before[edges]
    ends = np.flatnonzero(is_last)
    if len(data) and ((np.diff(edges) == 0).any() or not is_last[edges[1:] - 1].all()):
        raise DataError("a packed row is empty or cut short: its bytes are damaged")
    begin = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    n_bytes = ends - begin + 1
    if n_bytes.max(initial=0) > MAX_VARINT_BYTES - 1:
        raise DataError("a packed row holds a number of more than 63 bits: its bytes are damaged")
    values = data[begin].astype(np.int64) & 0x7F
    some = np.flatnonzero(n_bytes > 1)  # few: each further byte is looked at for those alone that have it
    for k in range(1, int(n_bytes.max(initial=0))):
        values[some] |= (data[begin[some] + k].astype(np.int64) & 0x7F) << (7 * k)
        some = some[n_bytes[some] > k + 1]
    return values, starts

"""Tiles: counts and weights per user, action family and span of time, at four widths.

A level's tiles are one sorted array of keys, `user << 33 | family << 28 | tile number`, with their sums beside it:
adding events is a concatenation, a sort and a segmented sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import Ints, Section, deltas, zigzag
from firstmile.compiled import compiled
from firstmile.errors import DataError
from firstmile.names import FAMILIES

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000

FAMILY_BITS, TILE_BITS = 5, 28
USER_SHIFT = FAMILY_BITS + TILE_BITS
TILE_MASK = (1 << TILE_BITS) - 1
MAX_USERS = 1 << 20
"""Rows one fold may take: sessions pack a user and a time into 63 bits."""

N_FAMILIES = len(FAMILIES)
AGE_SPAN = 64
"""Ages of kept tiles fit below this: a packed key is family × 64 + age."""


@dataclass(frozen=True)
class Level:
    """One width of tile and how many of them are kept, counted back from the tile of the greatest event time."""

    name: str
    width_ms: int
    kept: int


MINUTES = Level("minute", MINUTE_MS, 61)
HOURS = Level("hour", HOUR_MS, 49)
DAYS = Level("day", DAY_MS, 31)
LEVELS = (MINUTES, HOURS, DAYS)


@dataclass(frozen=True)
class Tiles:
    """Sums per key: `key` sorted and unique, `count` and `weight` of the same shape (n_tiles,)."""

    key: Ints
    count: Ints
    weight: Ints

    @property
    def user(self) -> Ints:
        """Row index of each tile."""
        return self.key >> USER_SHIFT

    @property
    def family(self) -> Ints:
        """Family code of each tile."""
        return (self.key >> TILE_BITS) & ((1 << FAMILY_BITS) - 1)

    @property
    def tile(self) -> Ints:
        """Tile number: start time divided by the level's width."""
        return self.key & TILE_MASK

    def where(self, mask: NDArray[np.bool_]) -> "Tiles":
        """The tiles a mask keeps."""
        return Tiles(self.key[mask], self.count[mask], self.weight[mask])


def empty() -> Tiles:
    """No tiles."""
    none = np.zeros(0, np.int64)
    return Tiles(none, none, none)


def key_of(user: Ints, family: Ints, tile: Ints) -> Ints:
    """Sort key of a tile."""
    return (user << USER_SHIFT) | (family << TILE_BITS) | tile


def add(tiles: Tiles, key: Ints, weight: Ints) -> Tiles:
    """The tiles with one event per given key added; `key` and `weight` have shape (n_events,)."""
    if not len(key):
        return tiles
    keys = np.concatenate((tiles.key, key))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    counts = np.concatenate((tiles.count, np.ones(len(key), np.int64)))[order]
    weights = np.concatenate((tiles.weight, weight))[order]
    return Tiles(keys[first], np.add.reduceat(counts, first), np.add.reduceat(weights, first))


def evict(tiles: Tiles, level: Level, last_ms: Ints) -> Tiles:
    """Without the tiles that have left the level, seen from each row's greatest event time, shape (n_rows,)."""
    keep = tiles.tile > last_ms[tiles.user] // level.width_ms - level.kept
    return tiles if keep.all() else tiles.where(keep)


def to_section(tiles: Tiles, reference: Ints) -> Section:
    """Packed form of tiles that rarely lie side by side: key deltas, counts, weight minus count.

    reference
        Shape (n_rows,): newest tile number per row; ages are counted back from it.
    """
    row, code, count, excess = _coded(tiles.key, tiles.count, tiles.weight, reference, *_BITS)
    return Section(row, (deltas(row, code), count, zigzag(excess)))


def from_section(section: Section, reference: Ints) -> Tiles:
    """Inverse of to_section. Raises DataError for tiles that there cannot be."""
    step, count, excess = section.columns
    is_sound, *tiles = _from_steps(section.row, step, count, excess, reference, *_BITS)
    return _sound(is_sound, tiles)


def _sound(is_sound: bool, tiles: Sequence[Ints]) -> Tiles:
    if not is_sound:
        raise DataError("a packed row has tiles that there cannot be: its bytes are damaged; run `firstmile recover`")
    return Tiles(*tiles)


def to_runs(tiles: Tiles, reference: Ints) -> tuple[Section, Section]:
    """Packed form of tiles that often do: runs of consecutive ones (distance from the run before, length), and sums."""
    row, code, count, excess = _coded(tiles.key, tiles.count, tiles.weight, reference, *_BITS)
    run_row, distance, length = _runs(row, code)
    return Section(run_row, (distance, length)), Section(row, (count, zigzag(excess)))


def from_runs(runs: Section, sums: Section, reference: Ints) -> Tiles:
    """Inverse of to_runs. Raises DataError when the two disagree, and for tiles that there cannot be."""
    (distance, length), (count, excess) = runs.columns, sums.columns
    is_sound, *tiles = _from_runs(runs.row, distance, length, sums.row, count, excess, reference, *_BITS)
    return _sound(is_sound, tiles)


_BITS = (FAMILY_BITS, TILE_BITS, AGE_SPAN)


@compiled
def _coded(
    key: Ints, count: Ints, weight: Ints, reference: Ints, family_bits: int, tile_bits: int, age_span: int
) -> tuple[Ints, Ints, Ints, Ints]:
    """Rows, family and age in one number, counts, and weights less counts: ascending within each row, which turns round
    the tiles of each (user, family), as they stand together."""
    n = len(key)
    row, code, counts, excess = (
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
    )
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and key[end] >> tile_bits == key[begin] >> tile_bits:
            end += 1
        user = key[begin] >> (family_bits + tile_bits)
        family = (key[begin] >> tile_bits) & ((1 << family_bits) - 1)
        for i in range(begin, end):
            at = begin + end - 1 - i
            row[at] = user
            code[at] = family * age_span + reference[user] - (key[i] & ((1 << tile_bits) - 1))
            counts[at], excess[at] = count[i], weight[i] - count[i]
        begin = end
    return row, code, counts, excess


@compiled
def _decoded(
    row: Ints, code: Ints, count: Ints, excess: Ints, reference: Ints, family_bits: int, tile_bits: int, age_span: int
) -> tuple[bool, Ints, Ints, Ints]:
    """Inverse of _coded, `excess` in zigzag: whether keys stay within their rows; keys, counts and weights."""
    n = len(row)
    key, counts, weights = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    begin = 0
    while begin < n:
        user, family = row[begin], code[begin] // age_span
        end = begin + 1
        while end < n and row[end] == user and code[end] // age_span == family:
            end += 1
        for i in range(begin, end):
            at = begin + end - 1 - i
            tile = reference[user] - code[i] % age_span
            if family < 0 or family >> family_bits or tile < 0 or tile >> tile_bits:
                return False, key, counts, weights
            key[at] = (user << (family_bits + tile_bits)) | (family << tile_bits) | tile
            counts[at], weights[at] = count[i], ((excess[i] >> 1) ^ -(excess[i] & 1)) + count[i]
        begin = end
    return True, key, counts, weights


@compiled
def _from_steps(
    row: Ints, step: Ints, count: Ints, excess: Ints, reference: Ints, family_bits: int, tile_bits: int, age_span: int
) -> tuple[bool, Ints, Ints, Ints]:
    """As _decoded, of what to_section packed."""
    code = step.copy()
    for i in range(1, len(code)):
        if row[i] == row[i - 1]:
            code[i] += code[i - 1]
    return _decoded(row, code, count, excess, reference, family_bits, tile_bits, age_span)


@compiled
def _runs(row: Ints, code: Ints) -> tuple[Ints, Ints, Ints]:
    """Runs of consecutive codes: their rows, how far each begins behind the last of the run before, and lengths."""
    n = len(row)
    rows, distance, length = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    n_runs = 0
    for i in range(n):
        same_row = i > 0 and row[i] == row[i - 1]
        if same_row and code[i] == code[i - 1] + 1:
            length[n_runs - 1] += 1
            continue
        rows[n_runs], length[n_runs] = row[i], 1
        distance[n_runs] = code[i] - code[i - 1] if same_row else code[i]
        n_runs += 1
    return rows[:n_runs], distance[:n_runs], length[:n_runs]


@compiled
def _from_runs(
    run_row: Ints,
    distance: Ints,
    length: Ints,
    row: Ints,
    count: Ints,
    excess: Ints,
    reference: Ints,
    family_bits: int,
    tile_bits: int,
    age_span: int,
) -> tuple[bool, Ints, Ints, Ints]:
    """As _decoded, of what to_runs packed; False also when the runs are not those of the sums."""
    n = len(row)
    code = np.empty(n, np.int64)
    at = 0
    for i in range(len(run_row)):
        begin = distance[i]
        if i > 0 and run_row[i] == run_row[i - 1] and at > 0:
            begin += code[at - 1]
        if length[i] > n - at:
            return False, code, code, code
        for k in range(length[i]):
            if row[at] != run_row[i]:
                return False, code, code, code
            code[at] = begin + k
            at += 1
    if at < n:
        return False, code, code, code
    return _decoded(row, code, count, excess, reference, family_bits, tile_bits, age_span)

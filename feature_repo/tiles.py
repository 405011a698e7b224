"""Tiles: counts and weights per user, action family and span of time, at four widths.

A level's tiles are one sorted array of keys, `user << 33 | family << 28 | tile number`, with their sums beside it:
adding events is a concatenation, a sort and a segmented sum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import Ints, Section, deltas, undeltas, unzigzag, zigzag
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
    code, order = _codes(tiles, reference)
    row = tiles.user[order]
    return Section(row, (deltas(row, code), *_sums(tiles, order)))


def from_section(section: Section, reference: Ints) -> Tiles:
    """Inverse of to_section."""
    step, count, excess = section.columns
    return _tiles(section.row, undeltas(section.row, step), count, excess, reference)


def to_runs(tiles: Tiles, reference: Ints) -> tuple[Section, Section]:
    """Packed form of tiles that often do: runs of consecutive ones (distance from the run before, length), and sums."""
    code, order = _codes(tiles, reference)
    row = tiles.user[order]
    opens = np.ones(len(row), bool)
    opens[1:] = (row[1:] != row[:-1]) | (np.diff(code) != 1)
    start = np.flatnonzero(opens)
    length = np.diff(np.append(start, len(row)))
    first, last = code[start], code[start + length - 1]
    distance = first.copy()
    same = row[start][1:] == row[start][:-1]
    distance[1:][same] -= last[:-1][same]
    return Section(row[start], (distance, length)), Section(row, _sums(tiles, order))


def from_runs(runs: Section, sums: Section, reference: Ints) -> Tiles:
    """Inverse of to_runs. Raises DataError when the two disagree."""
    distance, length = runs.columns
    step = distance.copy()
    same = runs.row[1:] == runs.row[:-1]
    step[1:][same] += length[:-1][same] - 1
    row = np.repeat(runs.row, length)
    if not np.array_equal(row, sums.row):
        raise DataError("a packed row's runs disagree with its tiles: its bytes are damaged")
    within = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    count, excess = sums.columns
    return _tiles(row, np.repeat(undeltas(runs.row, step), length) + within, count, excess, reference)


def _codes(tiles: Tiles, reference: Ints) -> tuple[Ints, Ints]:
    """Family and age in one number, ascending within each row, and the order of the tiles it stands in."""
    user, family = tiles.user, tiles.family
    order = _newest_first(user, family)
    return (family * AGE_SPAN + reference[user] - tiles.tile)[order], order


def _newest_first(user: Ints, family: Ints) -> Ints:
    """Order that turns round the tiles of each (user, family), which stand together."""
    n = len(user)
    opens = np.ones(n, bool)
    opens[1:] = (user[1:] != user[:-1]) | (family[1:] != family[:-1])
    start = np.flatnonzero(opens)
    size = np.diff(np.append(start, n))
    return np.repeat(2 * start + size - 1, size) - np.arange(n)


def _sums(tiles: Tiles, order: Ints) -> tuple[Ints, Ints]:
    return tiles.count[order], zigzag(tiles.weight[order] - tiles.count[order])


def _tiles(row: Ints, code: Ints, count: Ints, excess: Ints, reference: Ints) -> Tiles:
    family = code // AGE_SPAN
    key = key_of(row, family, reference[row] - code % AGE_SPAN)
    order = _newest_first(row, family)
    return Tiles(key[order], count[order], (unzigzag(excess) + count)[order])

"""Distinct content and pages: exact to 64 per row, then a Bloom filter, which still tells what a user has seen.

Source: B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970; the count from the number of
set bits, -m/k ln(1 - X/m): Swamidass & Baldi, 2007.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.packing import Ints, Section, deltas, undeltas

EXACT = 64
WORD_BITS = 7  # so that a word is one byte of a packed row
N_WORDS = 288
N_BITS = N_WORDS * WORD_BITS
N_PROBES = 3
FEW = 2_000
"""Names that are hashed sooner than it is found out which are the same."""


@dataclass(frozen=True)
class Distinct:
    """Either exact hashes or a filter, per row.

    user, value
        Shape (n_values,), sorted by (user, value): exact hashes.
    sketched
        Shape (n_sketched,), sorted: rows that have a filter instead.
    words
        Shape (n_sketched, N_WORDS): their bits, seven to a word.
    """

    user: Ints
    value: Ints
    sketched: Ints
    words: Ints


def content_hash(names: Sequence[str] | NDArray[np.object_]) -> Ints:
    """32-bit hash of each name, never 0; "" and None give 0, which means none. Shape (n,)."""
    values = np.asarray(names, dtype=object)
    missing = np.array([not v for v in values], bool) if len(values) else np.zeros(0, bool)
    if missing.all():
        return np.zeros(len(values), np.int64)
    given = np.where(missing, "", values)
    hashed = (pd.util.hash_array(given, categorize=len(given) > FEW) >> np.uint64(32)).astype(np.int64)
    return np.where(missing, 0, np.maximum(hashed, 1))


def empty() -> Distinct:
    """Nothing seen."""
    none = np.zeros(0, np.int64)
    return Distinct(none, none, none, np.zeros((0, N_WORDS), np.int64))


def first(distinct: Distinct, n: int) -> Distinct:
    """Those of the first n rows."""
    end, filters = (int(np.searchsorted(rows, n)) for rows in (distinct.user, distinct.sketched))
    return Distinct(distinct.user[:end], distinct.value[:end], distinct.sketched[:filters], distinct.words[:filters])


def add(distinct: Distinct, user: Ints, value: Ints, *, n_rows: int) -> Distinct:
    """With hashes added; 0 is passed over. `user` and `value` have shape (n_events,)."""
    has = value != 0
    user, value = user[has], value[has]
    if not len(user):
        return distinct
    is_sketched = np.zeros(n_rows, bool)
    is_sketched[distinct.sketched] = True
    late = is_sketched[user]
    both = _merged((distinct.user << 32) | distinct.value, np.unique((user[~late] << 32) | value[~late]))
    users, values = both >> 32, both & 0xFFFFFFFF
    over = np.bincount(users, minlength=n_rows) > EXACT
    if not over.any() and not late.any():
        return Distinct(users, values, distinct.sketched, distinct.words)
    spill = over[users]
    rows = np.flatnonzero(is_sketched | over)
    words = np.zeros((len(rows), N_WORDS), np.int64)
    words[np.searchsorted(rows, distinct.sketched)] = distinct.words
    into = np.searchsorted(rows, np.concatenate((users[spill], user[late])))
    _set(words, into, np.concatenate((values[spill], value[late])))
    return Distinct(users[~spill], values[~spill], rows, words)


def count(distinct: Distinct, n_rows: int) -> NDArray[np.float64]:
    """Number of distinct values per row: exact to 64, then estimated, never falling. Shape (n_rows,)."""
    out = np.bincount(distinct.user, minlength=n_rows).astype(np.float64)
    if len(distinct.sketched):
        n_set = np.bitwise_count(distinct.words).sum(axis=1)
        free = np.maximum(N_BITS - n_set, 1) / N_BITS  # a full filter still gives a number
        estimate = np.round(-N_BITS / N_PROBES * np.log(free))
        out[distinct.sketched] = np.maximum(estimate, EXACT + 1)  # a filter is only made for more than EXACT
    return out


def contains(distinct: Distinct, row: int, value: Ints) -> NDArray[np.bool_]:
    """Whether a row has seen each hash, shape (n_values,); past 64 a few unseen ones answer True."""
    where = np.flatnonzero(distinct.sketched == row)
    if len(where):
        word, bit = _probe(value)
        return np.asarray(((distinct.words[where[0]][word] >> bit) & 1).all(axis=0), bool)
    own = distinct.value[distinct.user == row]
    if not len(own):
        return np.zeros(len(value), bool)
    # Sorted within a row: searching costs a tenth of np.isin, which sorts both again.
    return np.asarray(own[np.minimum(np.searchsorted(own, value), len(own) - 1)] == value, bool)


def of_row(distinct: Distinct, row: int) -> Distinct:
    """One row's, as row 0."""
    here, sketch = distinct.user == row, distinct.sketched == row
    return Distinct(
        np.zeros(int(here.sum()), np.int64),
        distinct.value[here],
        np.zeros(int(sketch.sum()), np.int64),
        distinct.words[sketch],
    )


def seen_matrix(distinct: Distinct, hashes: Ints, n_rows: int) -> NDArray[np.bool_]:
    """`contains` for whole columns: whether each row has each hash, shape (n_rows, n_hashes).

    hashes
        Shape (n_hashes,), as `content_hash` gives them.

    >>> seen = add(empty(), np.array([1, 1]), np.array([7, 9]), n_rows=2)
    >>> seen_matrix(seen, np.array([9, 8]), 2).tolist()
    [[False, False], [True, False]]
    """
    known, where = np.unique(hashes, return_inverse=True)
    found = np.zeros((n_rows, len(known)), bool)
    if not len(known):
        return found
    at = np.minimum(np.searchsorted(known, distinct.value), len(known) - 1)
    is_here = known[at] == distinct.value
    found[distinct.user[is_here], at[is_here]] = True
    word, bit = _probe(known)
    found[distinct.sketched] = ((distinct.words[:, word] >> bit) & 1).all(axis=1)
    return found[:, where]


def to_sections(distinct: Distinct) -> tuple[Section, Section]:
    """Packed form: exact hashes as ascending steps, and filters word by word."""
    row = np.repeat(distinct.sketched, N_WORDS)
    return Section(distinct.user, (deltas(distinct.user, distinct.value),)), Section(row, (distinct.words.ravel(),))


def from_sections(exact: Section, sketch: Section) -> Distinct:
    """Inverse of to_sections."""
    rows = sketch.row[::N_WORDS]
    return Distinct(exact.row, undeltas(exact.row, exact.columns[0]), rows, sketch.columns[0].reshape(-1, N_WORDS))


def _merged(old: Ints, new: Ints) -> Ints:
    """Both sorted sets as one; a handful is put among many without sorting the many."""
    at = np.searchsorted(old, new)
    known = at < len(old)
    known[known] = old[at[known]] == new[known]
    return np.insert(old, at[~known], new[~known])


def _probe(value: Ints) -> tuple[Ints, Ints]:
    """Word and bit of each probe, shape (N_PROBES, n_values); double hashing (Kirsch & Mitzenmacher, 2006)."""
    low, high = value & 0xFFFF, (value >> 16) | 1
    bit = (low + np.arange(N_PROBES)[:, None] * high) % N_BITS
    return bit // WORD_BITS, bit % WORD_BITS


def _set(words: Ints, into: Ints, value: Ints) -> None:
    word, bit = _probe(value)
    np.bitwise_or.at(words, (np.broadcast_to(into, word.shape), word), np.int64(1) << bit)

"""The newest clicks and form errors of a user, each with what it was about: friction is seen in them when asked.

Kept per row and kind are the newest 64 of the last 61 minutes, by (event time, target), so that any order of arrival
keeps the same ones. A user who does more than that in an hour is counted from the newest 64: a lower bound, and the
minute tiles of the same family say how many there were.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import Ints, Section, deltas, undeltas
from feature_repo.tiles import MINUTES

KINDS = ("click", "form_error")
"""Families that are kept; their order is part of the packed row: append only."""
KEPT = 64
TARGET_BITS = 28  # a varint of at most 4 bytes
RAGE_CLICKS, RAGE_MS = 3, 2_000
"""A rage click is at least the third on one target within two seconds."""


@dataclass(frozen=True)
class Recent:
    """Entries of many rows, all of shape (n_entries,), sorted by (user, kind, at_ms, target).

    kind: index into KINDS · target: hash of the button or field, never 0.
    """

    user: Ints
    kind: Ints
    at_ms: Ints
    target: Ints

    def where(self, chosen: NDArray[np.bool_] | Ints | slice) -> "Recent":
        """The chosen entries, in the order given."""
        return Recent(self.user[chosen], self.kind[chosen], self.at_ms[chosen], self.target[chosen])


def empty() -> Recent:
    """Nothing kept."""
    none = np.zeros(0, np.int64)
    return Recent(none, none, none, none)


def first(recent: Recent, n: int) -> Recent:
    """Those of the first n rows."""
    return recent.where(slice(0, int(np.searchsorted(recent.user, n))))


def add(recent: Recent, added: Recent, last_ms: Ints) -> Recent:
    """With entries added in any order, then trimmed.

    added
        Target 0 is passed over, others are cut to TARGET_BITS.
    last_ms
        Shape (n_rows,): greatest event time per row, these included.
    """
    added = added.where(added.target != 0)
    if not len(added.user) and not len(recent.user):
        return recent
    target = np.maximum(added.target & ((1 << TARGET_BITS) - 1), 1)
    both = Recent(
        np.concatenate((recent.user, added.user)),
        np.concatenate((recent.kind, added.kind)),
        np.concatenate((recent.at_ms, added.at_ms)),
        np.concatenate((recent.target, target)),
    )
    both = both.where(both.at_ms // MINUTES.width_ms > last_ms[both.user] // MINUTES.width_ms - MINUTES.kept)
    order = np.lexsort((both.target, both.at_ms, both.kind, both.user))
    both = both.where(order)
    group = both.user * len(KINDS) + both.kind
    n_each = np.bincount(group, minlength=len(last_ms) * len(KINDS))
    within = np.arange(len(group)) - (np.cumsum(n_each) - n_each)[group]
    return both.where(within >= (n_each - KEPT)[group])


def rage_clicks(recent: Recent, n_rows: int) -> NDArray[np.float64]:
    """Clicks that are at least the third on one target within two seconds, shape (n_rows,).

    Source: FullStory and PostHog count repeated clicks at one place the same way, with spans of one to three seconds.
    """
    clicks = recent.where(recent.kind == KINDS.index("click"))
    clicks = clicks.where(np.lexsort((clicks.at_ms, clicks.target, clicks.user)))
    back = RAGE_CLICKS - 1
    if len(clicks.user) <= back:
        return np.zeros(n_rows)
    same = (clicks.user[back:] == clicks.user[:-back]) & (clicks.target[back:] == clicks.target[:-back])
    is_rage = same & (clicks.at_ms[back:] - clicks.at_ms[:-back] <= RAGE_MS)
    return np.bincount(clicks.user[back:][is_rage], minlength=n_rows).astype(np.float64)


def errors_on_one_field(recent: Recent, n_rows: int) -> NDArray[np.float64]:
    """The greatest number of form errors at one field, shape (n_rows,)."""
    errors = recent.where(recent.kind == KINDS.index("form_error"))
    out = np.zeros(n_rows)
    fields, counts = np.unique((errors.user << TARGET_BITS) | errors.target, return_counts=True)
    np.maximum.at(out, fields >> TARGET_BITS, counts)
    return out


def to_section(recent: Recent, last_ms: Ints) -> Section:
    """Packed form: kind and time back from the last event in one ascending number, and the target."""
    back_ms = last_ms[recent.user] - recent.at_ms
    code = recent.kind * _SPAN_MS + back_ms
    order = np.lexsort((recent.target, code, recent.user))
    row = recent.user[order]
    return Section(row, (deltas(row, code[order]), recent.target[order]))


def from_section(section: Section, last_ms: Ints) -> Recent:
    """Inverse of to_section."""
    if not len(section.row):
        return empty()
    code = undeltas(section.row, section.columns[0])
    found = Recent(section.row, code // _SPAN_MS, last_ms[section.row] - code % _SPAN_MS, section.columns[1])
    return found.where(np.lexsort((found.target, found.at_ms, found.kind, found.user)))


_SPAN_MS = (MINUTES.kept + 1) * MINUTES.width_ms
"""More than any kept entry lies back."""

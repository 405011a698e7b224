"""What the content ranker sees of a user and an item: one definition, for a training set and for one request alike.

    content statistics ─► standing (content_standing) ─┐
    rows of users ─► windows, seen_matrix ─────────────┴─► candidates ─► ranker_features

Pure, and without Feast. Audit attributes cannot enter: READ names features of `windows` alone.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.content_standing import ITEM_FEATURES, RECENT_DAYS, Floats, Standing, ratio
from feature_repo.packing import Ints
from feature_repo.stage import RULE, stages
from firstmile.vocabulary import FORMATS

Mask = NDArray[np.bool_]

MAX_CANDIDATES: Final = 100
NEIGHBOURS: Final = 5
"""Items before and after one in the catalogue that tell whether the user is at work there."""

USER_FEATURES: Final = (
    "onboarding_age_days",
    "days_since_last_event",
    "active_days_7d",
    "clicks_total_weight",
    "content_open_7d_count",
)
"""The user's own, passed through."""
OPENS: Final = tuple(f"opens_{f}" for f in FORMATS)
STAGE_INPUTS: Final = (f"{RULE.activated_by}_total_count", "clicks_total_count", "days_since_last_event")
READ: Final = tuple(dict.fromkeys((*USER_FEATURES, *OPENS, *STAGE_INPUTS)))
"""Features of `windows` that `ranker_features` reads."""

RECENT_FEATURES: Final = tuple(f"popularity_{days}d" for days in RECENT_DAYS)
PAIR_FEATURES: Final = (
    "popularity_in_stage",
    "format_affinity",
    "format_seen",
    "seen_before",
    "seen_after",
    "beyond_furthest",
)
RANKER_FEATURES: Final = (*ITEM_FEATURES, *PAIR_FEATURES, "shelf_seen", *USER_FEATURES)
"""The ranker's vector, in order; `ranker_features` says what each is."""


def candidates(shelf: Standing, seen: Mask) -> tuple[Ints, Ints]:
    """(user, item) of what may be shown: of what is not seen the MAX_CANDIDATES most popular, ties in catalogue order.

    seen
        Shape (n_users, n_items).

    Returns two arrays of shape (n_pairs,), sorted by user, then by popularity.
    """
    free = ~seen[:, shelf.by_popularity]
    user, rank = np.nonzero(free & (np.cumsum(free, axis=1) <= MAX_CANDIDATES))
    return user, shelf.by_popularity[rank]


def ranker_features(
    shelf: Standing, users: Mapping[str, Floats], seen: Mask, *, user: Ints, item: Ints
) -> NDArray[np.float32]:
    """Vectors of pairs, shape (n_pairs, n_features) in the order of RANKER_FEATURES; NaN = not known.

    Of the item its standing, format and place in the catalogue (0 first, 1 last). Of both: the format's share of what
    the user opened, and the share of its items they have seen; the shares of the item's neighbours before and after it
    that they have seen; how far it lies past the last item they have seen, in catalogues. Of the user: the share of the
    shelf they have seen, and USER_FEATURES.

    users
        The features READ by name, each of shape (n_users,).
    seen
        Shape (n_users, n_items).
    user, item
        Shape (n_pairs,): index into users and into the shelf.
    """
    first, end = len(ITEM_FEATURES), len(ITEM_FEATURES) + len(PAIR_FEATURES)
    out = np.empty((len(user), len(RANKER_FEATURES)), np.float32)
    out[:, :first] = shelf.columns[item]
    out[:, first:end] = _pairs(shelf, users, seen)[user, item]
    own = np.array([seen.mean(axis=1), *(users[name] for name in USER_FEATURES)])
    out[:, end:] = own.T[user]
    return out


def _pairs(shelf: Standing, users: Mapping[str, Floats], seen: Mask) -> NDArray[np.float32]:
    """PAIR_FEATURES of every user and item, shape (n_users, n_items, n_features)."""
    opens = np.array([users[name] for name in OPENS]).T
    affinity = ratio(opens, opens.sum(axis=1, keepdims=True))
    format_seen = ratio(seen @ shelf.is_format, shelf.is_format.sum(axis=0))
    out = np.empty((*seen.shape, len(PAIR_FEATURES)), np.float32)
    out[:, :, 0] = shelf.in_stage[stages(*(users[name] for name in STAGE_INPUTS))]
    out[:, :, 1] = affinity[:, shelf.format]
    out[:, :, 2] = format_seen[:, shelf.format]
    out[:, :, 3], out[:, :, 4] = _neighbours(seen)
    furthest = np.where(seen, shelf.position, -np.inf).max(axis=1, keepdims=True)
    out[:, :, 5] = np.where(np.isfinite(furthest), shelf.position - furthest, np.nan)
    return out


def _neighbours(seen: Mask) -> tuple[Floats, Floats]:
    """Shares of the items before and after each that were seen, shape (n_users, n_items); NaN where there are none."""
    n_users, n_items = seen.shape
    so_far = np.zeros((n_users, n_items + 1))
    np.cumsum(seen, axis=1, out=so_far[:, 1:])
    at = np.arange(n_items)
    first, last = np.maximum(at - NEIGHBOURS, 0), np.minimum(at + 1 + NEIGHBOURS, n_items)
    before = so_far[:, :-1] - so_far[:, first]
    after = so_far[:, last] - so_far[:, 1:]
    return ratio(before, (at - first).astype(np.float64)), ratio(after, (last - at - 1).astype(np.float64))

"""What the content ranker sees of a user and an item: one definition, for a training set and for one request alike.

    content statistics ─► standing (content_standing) ─┐
    rows of users ─► windows, seen_matrix ─────────────┴─► candidates ─► ranker_features

Pure, and without Feast. Audit attributes cannot enter: READ names features of `windows` alone.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.content_seen import Mask
from feature_repo.content_standing import RECENT_DAYS, Floats, Standing, ratio
from feature_repo.packing import Ints
from feature_repo.stage import stages
from firstmile.names import FORMATS

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
STAGE_INPUTS: Final = ("form_submit_total_count", "clicks_total_count", "days_since_last_event")
READ: Final = tuple(dict.fromkeys((*USER_FEATURES, *OPENS, *STAGE_INPUTS)))
"""Features of `windows` that `ranker_features` reads."""

RECENT_FEATURES: Final = tuple(f"popularity_{days}d" for days in RECENT_DAYS)
RANKER_FEATURES: Final = (
    "popularity",
    "popularity_in_stage",
    *RECENT_FEATURES,
    "clicks_per_opening",
    "completions_per_opening",
    "openings_per_showing",
    "skips_per_showing",
    "format",
    "position",
    "format_affinity",
    "format_seen",
    "seen_before",
    "seen_after",
    "beyond_furthest",
    "shelf_seen",
    *USER_FEATURES,
)
"""The ranker's vector, in order; `ranker_features` says what each is."""


def candidates(shelf: Standing, seen: Mask) -> tuple[Ints, Ints]:
    """(user, item) of what may be shown: of what is not seen the MAX_CANDIDATES most popular, ties in catalogue order.

    seen
        Shape (n_users, n_items).

    Returns two arrays of shape (n_pairs,), sorted by user, then by popularity.
    """
    order = np.argsort(-np.nan_to_num(shelf.popularity), kind="stable")
    free = ~seen[:, order]
    user, rank = np.nonzero(free & (np.cumsum(free, axis=1) <= MAX_CANDIDATES))
    return user, order[rank]


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
    stage = stages(*(users[name] for name in STAGE_INPUTS))
    opens = np.column_stack([users[name] for name in OPENS])
    affinity = ratio(opens, opens.sum(axis=1, keepdims=True))
    of_format = (shelf.format[:, None] == np.arange(len(FORMATS))).astype(np.float64)
    format_seen = ratio(seen @ of_format, of_format.sum(axis=0))
    kind = shelf.format[item]
    columns = [
        shelf.popularity[item],
        shelf.in_stage[stage[user], item],
        *shelf.recent[:, item],
        *shelf.rates[:, item],
        kind,
        item / max(shelf.n_items - 1, 1),
        affinity[user, kind],
        format_seen[user, kind],
        *_around(seen, user, item),
        seen.mean(axis=1)[user],
        *(users[name][user] for name in USER_FEATURES),
    ]
    out = np.empty((len(user), len(columns)), np.float32)
    for i, column in enumerate(columns):
        out[:, i] = column
    return out


def _around(seen: Mask, user: Ints, item: Ints) -> tuple[Floats, Floats, Floats]:
    """seen_before, seen_after (NaN at the ends of the catalogue) and beyond_furthest (NaN when nothing was seen)."""
    n_users, n_items = seen.shape
    so_far = np.zeros((n_users, n_items + 1))
    np.cumsum(seen, axis=1, out=so_far[:, 1:])
    first, last = np.maximum(item - NEIGHBOURS, 0), np.minimum(item + 1 + NEIGHBOURS, n_items)
    n_before, n_after = (item - first).astype(np.float64), (last - item - 1).astype(np.float64)
    here, after = so_far[user, item], so_far[user, item + 1]
    furthest = np.where(seen.any(axis=1), n_items - 1.0 - np.argmax(seen[:, ::-1], axis=1), np.nan)
    return (
        ratio(here - so_far[user, first], n_before),
        ratio(so_far[user, last] - after, n_after),
        (item - furthest[user]) / max(n_items - 1, 1),
    )

"""What the model must cope without: whole feature groups, one per Feast view, hidden from some rows it learns from.

A user may have no profile, or no activity yet known; a model that has met that answers honestly then, and one that has
not extrapolates.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from feature_repo.services import feature_groups
from training.arrays import FloatArray, IntArray

MASKED_SHARE: Final = 0.1
"""Share of training rows that lose a group, for each group; a row loses one at most."""


def masked(x: FloatArray, features: Sequence[str], *, seed: int, share: float = MASKED_SHARE) -> FloatArray:
    """A copy of x, shape (n_rows, n_features), with groups missing at random."""
    drawn = np.random.default_rng(seed).random(len(x))
    out = np.array(x)
    for i, columns in enumerate(columns_of(features).values()):
        rows = np.flatnonzero((drawn >= i * share) & (drawn < (i + 1) * share))
        out[rows[:, None], columns] = np.nan
    return out


def missing_in_turn(
    x: FloatArray, features: Sequence[str], *, share: float = MASKED_SHARE
) -> tuple[FloatArray, IntArray, FloatArray]:
    """What `masked` gives on average: every row whole, and once without each group.

    Returns the rows, shape (n_rows * (1 + n_groups), n_features); which row of x each was; and the part of that row's
    weight it carries: `share` without a group, the rest whole.

    >>> x, of, part = missing_in_turn(np.ones((1, 2)), ["n_pages", "prior_attempts"])
    >>> x.tolist(), of.tolist(), part.tolist()
    ([[1.0, 1.0], [nan, 1.0], [1.0, nan]], [0, 0, 0], [0.8, 0.1, 0.1])
    """
    groups = columns_of(features)
    ways = [x, *(without(x, features, group) for group in groups)]
    parts = [1.0 - share * len(groups), *[share] * len(groups)]
    return np.concatenate(ways), np.tile(np.arange(len(x)), len(ways)), np.repeat(parts, len(x))


def without(x: FloatArray, features: Sequence[str], group: str) -> FloatArray:
    """A copy of x in which nobody has the group."""
    out = np.array(x)
    out[:, columns_of(features)[group]] = np.nan
    return out


def columns_of(features: Sequence[str]) -> Mapping[str, list[int]]:
    """Positions of each group's features, by view; of one group alone nothing can be hidden, so there is none.

    >>> columns_of(["clicks_total_count", "prior_attempts", "n_pages"])
    {'user_activity': [0, 2], 'user_profile': [1]}
    >>> columns_of(["clicks_total_count"])
    {}
    """
    groups = feature_groups(features)
    at = {name: i for i, name in enumerate(features)}
    return {view: [at[name] for name in names] for view, names in groups.items()} if len(groups) > 1 else {}

"""Tells how far a user's onboarding is: the rule of `segment.stage`, for whoever needs it without serving's rules.

    activated   an event of the family that activates, once
    stalled     has clicked, and nothing was seen of them for a week
    active      five clicks or more
    new         anything else

The family and the numbers are those of `stages` in profile.yaml. `rules.yaml` says the same in its own words;
tests/unit/test_onboarding_stage.py holds the two together.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import Ints
from feature_repo.row import Rows
from feature_repo.tiles import DAY_MS
from feature_repo.windows import CLICKS
from firstmile.names import FAMILIES, STAGES
from firstmile.vocabulary import PROFILE

RULE: Final = PROFILE.stages
NEW, ACTIVE, STALLED, ACTIVATED = (STAGES.index(name) for name in ("new", "active", "stalled", "activated"))


def stages(activating: NDArray[np.float64], clicks: NDArray[np.float64], idle_days: NDArray[np.float64]) -> Ints:
    """Index into STAGES of each user; the arrays have one shape, NaN = not known.

    activating, clicks, idle_days
        The features content_features.STAGE_INPUTS.

    >>> found = stages(np.array([0.0, 0.0, 0.0, 1.0]), np.array([4.0, 5.0, 5.0, 5.0]), np.array([0.0, 6.0, 7.0, 7.0]))
    >>> [STAGES[code] for code in found]
    ['new', 'active', 'stalled', 'activated']
    """
    is_stalled = (clicks >= 1) & (idle_days >= RULE.stalled_days)
    choices = [activating >= 1, is_stalled, clicks >= RULE.active_clicks]
    return np.select(choices, [ACTIVATED, STALLED, ACTIVE], NEW).astype(np.int64)


def stages_at(rows: Rows, user: Ints, at_us: Ints) -> Ints:
    """Stage of users at instants, as an index into STAGES, without composing all windows.

    user, at_us
        Shape (n,): index into the rows, µs since epoch UTC.
    """
    idle_days = np.where(rows.last_ms[user] > 0, at_us // 1_000 // DAY_MS - rows.last_ms[user] // DAY_MS, np.nan)
    return stages(_total(rows, (RULE.activated_by,))[user], _total(rows, CLICKS)[user], idle_days)


def _total(rows: Rows, families: tuple[str, ...]) -> NDArray[np.float64]:
    chosen = rows.life.where(np.isin(rows.life.family, [FAMILIES.index(f) for f in families]))
    return np.bincount(chosen.user, weights=chosen.count, minlength=rows.n_rows).astype(np.float64)

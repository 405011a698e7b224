"""The segment of a user at an event, `<skill level>/<stage>`, from row and profile as they were before it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import Ints
from feature_repo.row import Rows
from feature_repo.stage import stages_at
from firstmile.names import STAGES
from firstmile.vocabulary import SKILL_LEVELS

UNKNOWN_LEVEL: Final = "unknown"
_LEVELS = (*SKILL_LEVELS, UNKNOWN_LEVEL)
_SEGMENTS = np.array([f"{level}/{stage}" for level in _LEVELS for stage in STAGES], object)


def segments(
    rows: Rows, user: Ints, at_us: Ints, profiles: Sequence[Mapping[str, Any]] | None = None
) -> NDArray[np.object_]:
    """Segment of each event's user, shape (n_events,), for example `unknown/active`.

    user, at_us
        Shape (n_events,): index into the rows, the event's received_at.
    profiles
        In the order of the rows; one that says a `skill_level` of the closed list gives the level. None: no profiles.
    """
    level = np.full(rows.n_rows, _LEVELS.index(UNKNOWN_LEVEL), np.int64)
    for i, profile in enumerate(profiles or ()):
        if profile.get("skill_level") in SKILL_LEVELS:
            level[i] = SKILL_LEVELS.index(profile["skill_level"])
    return np.asarray(_SEGMENTS[level[user] * len(STAGES) + stages_at(rows, user, at_us)], object)

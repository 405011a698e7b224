"""The set the content ranker learns from: for each user at the end of day N, the pages they might open next.

    clicks ─► openings of the next 7 days ───────────────────────────────┐
    offline store ─► row, content statistics as of day N ─► candidates ──┴─► groups of (vector, opened or not)

A group is one user at one snapshot. What of the next days is no candidate (past the most popular, or taken for seen
by the row's filter) is lost, and counted.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from feature_repo.content_features import RANKER_FEATURES
from firstmile.clock import MICROS_PER_DAY, iso
from firstmile.names import RANKER
from training.arrays import IntArray
from training.task import RANKING

MODEL: Final = RANKER
SNAPSHOT_DAYS: Final = RANKING.snapshot_days
EVALUATED_DAYS: Final = RANKING.evaluated_days


@dataclass(frozen=True)
class RankingSet:
    """Candidates of many groups, those of a group together, the most popular first.

    groups
        Shape (n_groups,): columns user_id, cohort, person, day, now_us, until_day, n_candidates, n_openings
        (pages opened in the next days that are candidates) and n_lost (those that are not).
    x
        Shape (n_rows, n_features), columns in the order of RANKER_FEATURES, NaN = not known.
    y
        Shape (n_rows,): 1 = opened in the next days.
    group
        Shape (n_rows,): index into groups, ascending.
    n_opened
        Shape (n_rows,): openings of the page so far by all: the baseline's score.
    site
        Shape (n_rows,): the page.
    counts
        Per day: the population, and who was left out of it and why.
    """

    groups: pd.DataFrame
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int8]
    group: IntArray
    n_opened: npt.NDArray[np.float64]
    site: IntArray
    counts: dict[int, dict[str, int]]

    def where(self, chosen: npt.NDArray[np.bool_]) -> "RankingSet":
        """The chosen groups, `chosen` of shape (n_groups,); counts stay those of the whole."""
        rows, new = chosen[self.group], np.cumsum(chosen) - 1
        return RankingSet(
            self.groups[chosen].reset_index(drop=True),
            self.x[rows],
            self.y[rows],
            new[self.group[rows]],
            self.n_opened[rows],
            self.site[rows],
            self.counts,
        )

    def columns(self) -> dict[str, npt.NDArray[np.float32]]:
        """The vectors by name of feature."""
        return {name: self.x[:, i] for i, name in enumerate(RANKER_FEATURES)}

    def description(self) -> dict[str, Any]:
        """Row, group and user counts, time range, and a hash that changes when any group, label or feature does."""
        digest = hashlib.sha256("\n".join(RANKER_FEATURES).encode())
        digest.update("\n".join(self.groups["user_id"]).encode())
        for values in (self.groups["now_us"].to_numpy(np.int64), self.group, self.y, self.x):
            digest.update(np.ascontiguousarray(values).tobytes())
        return {
            "n_rows": len(self.y),
            "n_groups": len(self.groups),
            "n_groups_without_opening": int((self.groups["n_openings"] + self.groups["n_lost"] == 0).sum()),
            "n_openings": int(self.groups["n_openings"].sum()),
            "n_lost": int(self.groups["n_lost"].sum()),
            "n_users": int(self.groups["user_id"].nunique()),
            "cohorts": sorted(set(self.groups["cohort"])),
            "from": iso(int(self.groups["now_us"].min())),
            "to": iso(int(self.groups["now_us"].max())),
            "sha256": digest.hexdigest(),
        }

    def trained_until_us(self) -> int:
        """The last instant any label of the set looked at."""
        ahead_us = (self.groups["until_day"] - self.groups["day"]) * MICROS_PER_DAY
        return int((self.groups["now_us"] + ahead_us).max())


def joined(parts: Sequence[RankingSet]) -> RankingSet:
    """All groups of several sets."""
    starts = np.cumsum([0, *(len(part.groups) for part in parts[:-1])])
    counts: dict[int, Counter[str]] = {}
    for part in parts:
        for day, found in part.counts.items():
            counts.setdefault(day, Counter()).update(found)
    return RankingSet(
        pd.concat([part.groups for part in parts], ignore_index=True),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.group + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.n_opened for part in parts]),
        np.concatenate([part.site for part in parts]),
        {day: dict(found) for day, found in sorted(counts.items())},
    )

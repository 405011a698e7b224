"""The set the content ranker learns from: for each learner at the end of day N, the pages they might open next.

    clicks ─► openings of the next 7 days ───────────────────────────────┐
    offline store ─► row, content statistics as of day N ─► candidates ──┴─► groups of (vector, opened or not)

A group is one learner at one snapshot. What of the next days is no candidate (past the most popular, or taken for seen
by the row's filter) is lost, and counted.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from feature_repo.content_features import RANKER_FEATURES
from firstmile.clock import MICROS_PER_DAY, iso
from firstmile.errors import DataError
from firstmile.names import RANKER
from firstmile.oulad import OuladTables, day_end_us
from training.dataset import KEYS, check_columns, snapshots
from training.labels import Labelled
from training.ranking_labels import AHEAD_DAYS, Openings, openings, read_pages
from training.ranking_offer import offered
from training.ranking_reads import packed_rows, statistics
from training.split import IntArray
from training.tasks import RANKING

MODEL: Final = RANKER
SNAPSHOT_DAYS: Final = RANKING.snapshot_days
EVALUATED_DAYS: Final = RANKING.evaluated_days


@dataclass(frozen=True)
class RankingSet:
    """Candidates of many groups, those of a group together, the most popular first.

    groups
        Shape (n_groups,): columns user_id, presentation, id_student, day, now_us, until_day, n_candidates, n_openings
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
            "presentations": sorted(set(self.groups["presentation"])),
            "from": iso(int(self.groups["now_us"].min())),
            "to": iso(int(self.groups["now_us"].max())),
            "sha256": digest.hexdigest(),
        }

    def trained_until_us(self) -> int:
        """The last instant any label of the set looked at."""
        ahead_us = (self.groups["until_day"] - self.groups["day"]) * MICROS_PER_DAY
        return int((self.groups["now_us"] + ahead_us).max())


def ranking_set(store: Any, tables: OuladTables, data: Path, *, days: Sequence[int] = SNAPSHOT_DAYS) -> RankingSet:
    """All groups of the tables' presentations at the days, with features from the offline store.

    store
        A feast.FeatureStore.
    data
        The OULAD folder of the tables: the order of its pages is read there.

    Raises DataError when the tables cannot carry the labels, the history holds two rows of one time, or nobody is
    left.
    """
    check_columns(RANKER_FEATURES, RANKER_FEATURES)
    pages = read_pages(data, tables.presentations)
    cells = {(p, day): openings(tables, pages[p], p, day) for p in tables.presentations for day in days}
    packed = packed_rows(store, snapshots([_asked(cells)]))
    found = statistics(store, pages, [(p, day_end_us(p, day)) for p, day in cells])
    parts = [_cell(opened, pages[p], found, packed, (p, day)) for (p, day), opened in cells.items()]
    made = _joined(parts)
    if not len(made.y):
        raise DataError(f"nobody is left to learn {MODEL} from: {made.counts}; choose more presentations")
    return made


def _asked(cells: Mapping[tuple[str, int], Openings]) -> Labelled:
    instants = ((opened.users, day_end_us(*at)) for at, opened in cells.items())
    return Labelled(pd.concat([users.assign(now_us=now_us) for users, now_us in instants]))


def _cell(
    opened: Openings, pages: pd.DataFrame, found: pd.DataFrame, packed: "pd.Series[bytes]", instant: tuple[str, int]
) -> RankingSet:
    """The groups of one presentation and day, `instant`."""
    day, now_us = instant[1], day_end_us(*instant)
    groups = opened.users.assign(day=day, now_us=now_us, until_day=day + AHEAD_DAYS)
    has_row = pd.MultiIndex.from_frame(groups[KEYS]).isin(packed.index)
    counts = {**opened.counts, "rows": int(has_row.sum()), "left_out:no row in the history": int((~has_row).sum())}
    groups = groups[has_row].reset_index(drop=True)
    before, ahead = opened.before[has_row], opened.ahead[has_row]
    offer = offered(packed.loc[pd.MultiIndex.from_frame(groups[KEYS])].tolist(), pages, found, now_us)
    lost = ahead & ~before
    lost[offer.user, offer.item] = False
    y = ahead[offer.user, offer.item]
    groups["n_candidates"] = np.bincount(offer.user, minlength=len(groups))
    groups["n_openings"] = np.bincount(offer.user[y], minlength=len(groups))
    groups["n_lost"] = lost.sum(axis=1)
    site = pages["id_site"].to_numpy(np.int64)[offer.item]
    return RankingSet(groups, offer.x, y.astype(np.int8), offer.user, offer.n_opened, site, {day: counts})


def _joined(parts: Sequence[RankingSet]) -> RankingSet:
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

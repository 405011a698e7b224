"""Makes the ranker's groups out of the demo's tables: of each learner at the end of day N, the pages they might open.

clicks ─► openings of the next 7 days ───────────────────────────────┐
offline store ─► row, content statistics as of day N ─► candidates ──┴─► groups of (vector, opened or not)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from examples.oulad.learning.openings import AHEAD_DAYS, Openings, openings, read_pages
from examples.oulad.tables.tables import OuladTables, day_end_us
from feature_repo.content_features import RANKER_FEATURES
from firstmile.errors import DataError
from training.dataset import KEYS, check_columns, snapshots
from training.labelled import Labelled
from training.ranking_offer import offered
from training.ranking_reads import packed_rows, statistics
from training.ranking_set import MODEL, SNAPSHOT_DAYS, RankingSet, joined


def ranking_set(store: Any, tables: OuladTables, data: Path, *, days: Sequence[int] = SNAPSHOT_DAYS) -> RankingSet:
    """All groups of the tables' presentations at the days, with features from the offline store.

    store
        A feast.FeatureStore.
    data
        The folder of the tables: the order of its pages is read there.

    Raises DataError when the tables cannot carry the labels, the history holds two rows of one time, or nobody is
    left.
    """
    check_columns(RANKER_FEATURES, RANKER_FEATURES)
    pages = read_pages(data, tables.presentations)
    cells = {(p, day): openings(tables, pages[p], p, day) for p in tables.presentations for day in days}
    packed = packed_rows(store, snapshots([_asked(cells)]))
    found = statistics(store, pages, [(p, day_end_us(p, day)) for p, day in cells])
    parts = [_cell(opened, pages[p], found, packed, (p, day)) for (p, day), opened in cells.items()]
    made = joined(parts)
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

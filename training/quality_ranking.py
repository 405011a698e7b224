"""The ranker's set as frames that expectations can be held against: its groups, its vectors, figures of both."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from feature_repo.content_features import RANKER_FEATURES
from training.ranking_set import MODEL, RankingSet

GROUP_COLUMNS: Final = (
    "user_id",
    "cohort",
    "person",
    "day",
    "now_us",
    "until_day",
    "n_candidates",
    "n_openings",
    "n_lost",
)
"""What a group has, in order."""
LEAST, MOST, MISSING = "least_", "most_", "missing_"


def extreme_frame(data: RankingSet) -> pd.DataFrame:
    """One row per cohort: of, and of each feature least_, most_ (missing where it is never known), missing_.

    Of a hundred vectors per group the extremes say the same as all rows, and a million rows take seconds to hold.
    """
    of_row = data.groups["cohort"].to_numpy(str)[data.group]
    return pd.DataFrame([_extremes(name, data.x[of_row == name]) for name in sorted({*of_row.tolist()})])


def ranking_figures(data: RankingSet, *, starts: Sequence[str] = ()) -> pd.DataFrame:
    """One row per cohort: of, n_rows (groups), n_users, without_history, opened_share, lost_share.

    Of a cohort of `starts` that has no group there is a row too: it may not vanish unseen.
    `opened_share`: of the candidates that were opened; `lost_share`: of the openings that were no candidates.
    """
    n_labelled = sum(counts.get("population", 0) for counts in data.counts.values())
    n_unknown = sum(counts.get("left_out:no row in the history", 0) for counts in data.counts.values())
    rows: list[dict[str, object]] = []
    for name in sorted({*starts, *data.groups["cohort"]}):
        groups = data.groups[data.groups["cohort"] == name]
        opened, lost = int(groups["n_openings"].sum()), int(groups["n_lost"].sum())
        rows.append(
            {
                "of": f"{MODEL} {name}",
                "n_rows": len(groups),
                "n_users": groups["user_id"].nunique(),
                "without_history": n_unknown / max(n_labelled, 1),
                "opened_share": opened / max(int(groups["n_candidates"].sum()), 1),
                "lost_share": lost / max(opened + lost, 1),
            }
        )
    return pd.DataFrame(rows)


def _extremes(name: str, x: np.ndarray) -> dict[str, object]:
    row: dict[str, object] = {"of": f"{MODEL} {name}"}
    for i, feature in enumerate(RANKER_FEATURES):
        column = x[:, i].astype(np.float64)
        known = column[~np.isnan(column)]
        row[LEAST + feature] = float(known.min()) if len(known) else np.nan
        row[MOST + feature] = float(known.max()) if len(known) else np.nan
        row[MISSING + feature] = float(np.isnan(column).mean())
    return row

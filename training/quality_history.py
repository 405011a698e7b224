"""What each presentation has of the offline history: one row of figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from feature_repo.fields import ACTIVITY
from firstmile.clock import MICROS_PER_DAY
from firstmile.settings import Settings
from training.quality_files import PRESENTATION, ask

PRODUCT: Final = "of the product"
"""What figures of a product's users are called."""

_FIGURES: Final = f"""
SELECT 'history ' || presentation AS "of",
       count(*) AS n_rows,
       count(DISTINCT user_id) AS n_users,
       count(*) - count(activity) AS n_without_row,
       count(*) - count(DISTINCT hash(user_id, event_timestamp)) AS n_twice,
       min(octet_length(activity)) AS least_bytes,
       max(octet_length(activity)) AS most_bytes,
       max(epoch_us(event_timestamp)) FILTER (epoch_us(event_timestamp) <= end_us) - any_value(start_us) AS reached_us
FROM (SELECT *, regexp_extract(user_id, '{PRESENTATION}', 1) AS presentation
      FROM read_parquet($1, union_by_name = true)) JOIN recorded USING (presentation)
GROUP BY presentation
"""
_OF_PRODUCT: Final = f"""
SELECT 'history {PRODUCT}' AS "of",
       count(*) AS n_rows,
       count(DISTINCT user_id) AS n_users,
       count(*) - count(activity) AS n_without_row,
       count(*) - count(DISTINCT hash(user_id, event_timestamp)) AS n_twice,
       min(octet_length(activity)) AS least_bytes,
       max(octet_length(activity)) AS most_bytes,
       0.0 AS days_short
FROM read_parquet($1, union_by_name = true) WHERE NOT regexp_matches(user_id, '{PRESENTATION}')
"""


def history_files(settings: Settings, view: str) -> list[Path]:
    """The files of a view's history, sorted; may be none."""
    return sorted((settings.history / view).glob("*.parquet"))


def history_figures(settings: Settings, presentations: Sequence[str], *, last_day: int) -> pd.DataFrame:
    """One row per presentation: of, n_rows, n_users, n_without_row, n_twice, least_bytes, most_bytes, days_short.

    `days_short`: by how many days it ends before the start of `last_day`, the last day a snapshot is taken; negative
    when it reaches further. That is what fresh means here: recorded history is as old as its course, but nobody may be
    asked about a day it has not seen. A presentation without a row has none of the figures but n_rows 0.

    Raises DataError when a file cannot be read.
    """
    found = ask(_FIGURES, history_files(settings, ACTIVITY), presentations)
    frame = found.set_index("of").reindex([f"history {p}" for p in presentations]).reset_index()
    frame["days_short"] = last_day - frame.pop("reached_us").astype("float64") / MICROS_PER_DAY
    return frame.fillna({"n_rows": 0, "n_users": 0, "days_short": last_day})


def product_history_figures(settings: Settings) -> pd.DataFrame:
    """The same figures in one row, of all users but OULAD's learners; it ends when it ends: later snapshots are none.

    Raises DataError when a file cannot be read.
    """
    return ask(_OF_PRODUCT, history_files(settings, ACTIVITY))

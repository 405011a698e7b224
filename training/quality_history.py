"""What each cohort has of the offline history: one row of figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from feature_repo.fields import ACTIVITY
from firstmile.clock import MICROS_PER_DAY
from firstmile.settings import Settings
from training.cohorts import Recorded
from training.quality_files import ask, cohort_pattern

PRODUCT: Final = "of the product"
"""What figures of a product's users are called."""

_FIGURES: Final = """
SELECT 'history ' || cohort AS "of",
       count(*) AS n_rows,
       count(DISTINCT user_id) AS n_users,
       count(*) - count(activity) AS n_without_row,
       count(*) - count(DISTINCT hash(user_id, event_timestamp)) AS n_twice,
       min(octet_length(activity)) AS least_bytes,
       max(octet_length(activity)) AS most_bytes,
       max(epoch_us(event_timestamp)) FILTER (epoch_us(event_timestamp) <= end_us) - any_value(start_us) AS reached_us
FROM (SELECT *, regexp_extract(user_id, '{pattern}', 1) AS cohort
      FROM read_parquet($1, union_by_name = true)) JOIN recorded USING (cohort)
GROUP BY cohort
"""
_OF_ALL: Final = f"""
SELECT 'history {PRODUCT}' AS "of",
       count(*) AS n_rows,
       count(DISTINCT user_id) AS n_users,
       count(*) - count(activity) AS n_without_row,
       count(*) - count(DISTINCT hash(user_id, event_timestamp)) AS n_twice,
       min(octet_length(activity)) AS least_bytes,
       max(octet_length(activity)) AS most_bytes,
       0.0 AS days_short
FROM read_parquet($1, union_by_name = true)
"""


def history_files(settings: Settings, view: str) -> list[Path]:
    """The files of a view's history, sorted; may be none."""
    return sorted((settings.history / view).glob("*.parquet"))


def history_figures(settings: Settings, cohorts: Sequence[str], calendar: Recorded, *, last_day: int) -> pd.DataFrame:
    """One row per cohort: of, n_rows, n_users, n_without_row, n_twice, least_bytes, most_bytes, days_short.

    `days_short`: by how many days it ends before the start of `last_day`, the last day a snapshot is taken; negative
    when it reaches further. That is what fresh means here: recorded history is as old as its course, but nobody may be
    asked about a day it has not seen. A cohort without a row has none of the figures but n_rows 0.

    Raises DataError when a file cannot be read.
    """
    query, files = _FIGURES.replace("{pattern}", cohort_pattern(calendar)), history_files(settings, ACTIVITY)
    found = ask(query, files, cohorts, recorded_days=calendar.days)
    frame = found.set_index("of").reindex([f"history {p}" for p in cohorts]).reset_index()
    frame["days_short"] = last_day - frame.pop("reached_us").astype("float64") / MICROS_PER_DAY
    return frame.fillna({"n_rows": 0, "n_users": 0, "days_short": last_day})


def whole_history_figures(settings: Settings) -> pd.DataFrame:
    """The same figures in one row, of all users; the history ends when it ends: later snapshots are none.

    Raises DataError when a file cannot be read.
    """
    return ask(_OF_ALL, history_files(settings, ACTIVITY))

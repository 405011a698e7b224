"""What the offline history holds, asked before anything is read from it."""

import pyarrow.dataset as ds

from feature_repo.fields import ACTIVITY, CONTENT
from firstmile.errors import DataError
from firstmile.settings import Settings
from training.quality_files import ask

_END = "SELECT max(epoch_us(event_timestamp)) AS end_us FROM read_parquet($1, union_by_name = true)"


def whole_history_ends_us(settings: Settings) -> int:
    """Time of the last row in the offline history µs.

    Raises DataError when there is none.
    """
    files = sorted((settings.history / ACTIVITY).glob("*.parquet"))
    found = ask(_END, files)["end_us"] if files else None
    if found is None or found.isna().all():
        raise DataError(f"{settings.history / ACTIVITY} has no row to learn from; run `firstmile backfill lake`")
    return int(found.iloc[0])


def has_content_statistics(settings: Settings) -> bool:
    """Whether a backfill counted them: with --no-content their history is there and empty."""
    files = sorted((settings.history / CONTENT).glob("*.parquet"))
    return bool(files) and ds.dataset(files).count_rows() > 0

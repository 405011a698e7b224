"""The event lake: which of its files count, what each holds, and how old its newest event is.

Only files that a manifest entry names are read; pipelines/lake.py says what is where, and why.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import pandas as pd

from firstmile.errors import DataError
from firstmile.names import IMPORTED
from training.cohorts import Recorded, day_end_us
from training.quality_files import ask, cohort_pattern

MICROS_PER_HOUR: Final = 3_600_000_000

_FILES: Final = """
SELECT parse_filename(filename) AS file,
       count(*) AS n_rows,
       count(*) - count(user_id) AS n_without_user,
       count(*) - count(received_us) AS n_without_time,
       count(*) - count(DISTINCT hash(source_topic_id, source_partition, source_offset)) AS n_twice,
       min(weight) AS least_weight,
       max(weight) AS most_weight,
       avg((family IS NOT NULL AND family = 'unknown')::DOUBLE) AS unknown_share
FROM read_parquet($1, union_by_name = true, filename = true) GROUP BY filename
"""
_NEWEST: Final = f"""
SELECT regexp_extract(coalesce(user_id, ''), '{{pattern}}', 1) AS cohort, max(received_us) AS newest_us
FROM read_parquet($1, union_by_name = true)
WHERE received_us IS NOT NULL AND NOT starts_with(source_topic_id, '{IMPORTED}') GROUP BY 1
"""


@dataclass(frozen=True)
class LakeFiles:
    """A lake's Parquet files.

    noted
        Rows of each committed file by its name, as the manifest notes them.
    there
        Those of them that exist.
    n_left_out
        Files that no entry names: what a killed archive left behind.
    """

    noted: dict[str, int]
    there: list[Path]
    n_left_out: int


def lake_files(folder: Path) -> LakeFiles:
    """The files of the lake under a folder; `noted` is empty when nothing was ever committed.

    Raises DataError for a manifest entry that cannot be read, or when not one of the files is there.
    """
    noted: dict[str, int] = {}
    for path in sorted((folder / "manifest").glob("*.json")):
        try:
            entry = orjson.loads(path.read_bytes())
            name, n_rows = str(entry["file"]), int(entry["n_rows"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} is not a manifest entry ({error!r}); it must be JSON with file and n_rows: restore it"
            ) from error
        if name:  # an entry without one says only how far the archive has read
            noted[name] = n_rows
    found = sorted((folder / "events").glob("*.parquet"))
    there = [path for path in found if path.name in noted]
    if noted and not there:
        raise DataError(f"{folder / 'manifest'} names {len(noted)} files, none of which is in events/; restore them")
    return LakeFiles(noted, there, len(found) - len(there))


def file_figures(lake: LakeFiles) -> pd.DataFrame:
    """One row per committed file: file, n_noted (rows by the manifest), n_rows, n_without_user, n_without_time,
    n_twice, least_weight, most_weight, unknown_share. A file that is gone has n_rows 0 and no other figure.

    Raises DataError when a file cannot be read.
    """
    frame = pd.DataFrame({"file": list(lake.noted), "n_noted": list(lake.noted.values())})
    return frame.merge(ask(_FILES, lake.there), on="file", how="left").fillna({"n_rows": 0})


def lake_figures(lake: LakeFiles, calendar: Recorded | None, *, now_us: int) -> pd.DataFrame:
    """One row: of, n_files, n_rows, age_hours.

    `age_hours` is of the newest event that was live when it was received, missing without one. Recorded history is
    played under its own calendar, years back (shift 0): there a received_at within the cohort's course says when
    the course was, not how long the archive has been silent.

    Raises DataError when a file cannot be read.
    """
    newest = ask(_NEWEST.replace("{pattern}", cohort_pattern(calendar)), lake.there).itertuples(index=False)
    live = [us for name, us in newest if not name or calendar is None or us > day_end_us(str(name), calendar.days)]
    age_hours = (now_us - max(live)) / MICROS_PER_HOUR if live else float("nan")
    figures = {"of": "lake", "n_files": len(lake.noted), "n_rows": sum(lake.noted.values()), "age_hours": age_hours}
    return pd.DataFrame([figures])

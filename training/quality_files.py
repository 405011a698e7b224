"""Parquet files asked where they lie: what columns they have, and sums over them by DuckDB.

A history or a lake of any size costs the data quality gate a few numbers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from firstmile.errors import DataError
from training.cohorts import Recorded, day_end_us, day_start_us

NOBODY: Final = "(a^)"
"""A pattern that no text fits."""


def cohort_pattern(calendar: Recorded | None) -> str:
    """The pattern of recorded users' ids, as a literal of SQL."""
    return (calendar.pattern if calendar else NOBODY).replace("'", "''")


def column_types(files: Sequence[Path]) -> pd.DataFrame:
    """One row per file: `file`, then a column for each that any of the files has, holding its Arrow type.

    A file that lacks a column is missing there. Raises DataError for a file that is not Parquet.
    """
    rows = []
    for path in files:
        try:
            schema = pq.read_schema(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} is not a Parquet file ({error}); write it again, or take it away") from error
        rows.append({"file": path.name, **{field.name: str(field.type) for field in schema}})
    return pd.DataFrame(rows)


def ask(query: str, files: Sequence[Path], cohorts: Sequence[str] = (), *, recorded_days: int = 0) -> pd.DataFrame:
    """The answer to a query over read_parquet($1), where `recorded` is a table of cohort, start_us, end_us.

    recorded_days
        From a cohort's start to end_us.

    Raises DataError when a file cannot be read.
    """
    recorded = pa.table(
        {
            "cohort": pa.array(cohorts, pa.string()),
            "start_us": pa.array([day_start_us(p, 0) for p in cohorts], pa.int64()),
            "end_us": pa.array([day_end_us(p, recorded_days) for p in cohorts], pa.int64()),
        }
    )
    with duckdb.connect() as connection:
        connection.register("recorded", recorded)
        try:
            answer: pd.DataFrame = connection.execute(query, [[str(path) for path in files]]).df()
        except duckdb.Error as error:
            raise DataError(
                f"{files[0].parent} cannot be read: {str(error).splitlines()[0]}; restore the file"
            ) from error
    return answer

"""What the event lake says of a product's users, as labels need it: who did what, when. Each event once."""

from collections.abc import Sequence
from typing import Final

import duckdb
import numpy as np
import pandas as pd

from firstmile.errors import DataError
from firstmile.names import PROFILES
from training.quality_lake import LakeFiles

_EVENTS: Final = f"""
SELECT user_id, any_value(name) AS name, any_value(family) AS family, any_value(format) AS format,
       min(event_us) AS event_us
FROM read_parquet($1, union_by_name = true)
WHERE source_topic <> '{PROFILES}'
GROUP BY user_id, message_id ORDER BY user_id, event_us
"""
_REACHED: Final = "SELECT max(received_us) FROM read_parquet($1, union_by_name = true)"

REMEDY: Final = "let `firstmile stream` and `firstmile archive` run, then `firstmile backfill lake`"


def product_events(lake: LakeFiles) -> pd.DataFrame:
    """Columns user_id, name, family, format, event_us; a user's events together, in time.

    Raises DataError when the lake is empty or a file cannot be read.
    """
    if not lake.there:
        raise DataError(f"labels come from the event lake, and it holds no file; {REMEDY}")
    events: pd.DataFrame = _ask(_EVENTS, lake)
    if events.empty:
        raise DataError(f"the lake's {len(lake.there)} files hold no event of a user; {REMEDY}")
    return events.astype({"event_us": np.int64})


def reached_us(lake: LakeFiles) -> int:
    """When the newest event was received: what would have happened later has not been seen."""
    return int(_ask(_REACHED, lake).to_numpy(np.int64)[0, 0])


def names_in(events: pd.DataFrame) -> Sequence[str]:
    """Names of all events there are, sorted."""
    return sorted(events["name"].unique())


def _ask(query: str, lake: LakeFiles) -> pd.DataFrame:
    with duckdb.connect() as connection:
        try:
            answer: pd.DataFrame = connection.execute(query, [[str(path) for path in lake.there]]).df()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{lake.there[0].parent} cannot be read: {reason}; restore the file") from error
    return answer

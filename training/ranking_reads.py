"""What was known at an instant, out of Feast's offline store: rows of users, and what had happened with content."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from feature_repo.content_standing import RECENT_DAYS
from feature_repo.fields import ACTIVITY, BY_SEGMENT, CONTENT, CONTENT_COUNTS
from feature_repo.sources import EVENT_TIMESTAMP
from firstmile.clock import MICROS_PER_DAY
from firstmile.errors import DataError
from training.dataset import KEYS


def packed_rows(store: Any, entities: pd.DataFrame) -> "pd.Series[bytes]":
    """The packed row of each user at each instant, indexed by (user_id, now_us); who has none by then is missing.

    The very bytes that the windows of `dataset.retrieve` are composed of: ranking needs what they say of content seen,
    too, which is no readable feature.

    entities
        As `dataset.snapshots` gives them.

    Raises DataError when the history gives a user two rows of one time.
    """
    found: pd.DataFrame = store.get_historical_features(entities, [f"{ACTIVITY}:activity"]).to_df()
    packed: pd.Series[bytes] = found.set_index(KEYS)["activity"]
    if packed.index.has_duplicates or len(packed) != len(entities):
        raise DataError(
            f"the offline store answered {len(packed)} rows for {len(entities)} users and instants; its history holds "
            "two rows of a user with one time: backfill again with --fresh"
        )
    return packed[packed.notna()].map(bytes)  # Spark gives bytearrays


def statistics(store: Any, pages: Mapping[str, pd.DataFrame], instants: Iterable[tuple[str, int]]) -> pd.DataFrame:
    """Content statistics of courses' pages at instants and RECENT_DAYS before each, indexed by (content_id, now_us).

    Columns CONTENT_COUNTS and `by_segment`; nulls where nothing had happened with the item by then. Statistics belong
    to the id: a later start of a course has those of the earlier one where it shows the same items, and starts from
    nothing where, as in the demo, every page has a new id.

    pages
        By cohort: columns content_id and format, in catalogue order.
    instants
        (cohort, now_us).

    Raises DataError when there are none at all.
    """
    parts = [
        pd.DataFrame({"content_id": pages[cohort]["content_id"], "now_us": now_us - days * MICROS_PER_DAY})
        for cohort, now_us in instants
        for days in (0, *RECENT_DAYS)
    ]
    entities = pd.concat(parts).drop_duplicates(ignore_index=True)
    entities[EVENT_TIMESTAMP] = pd.to_datetime(entities["now_us"], unit="us", utc=True)
    names = [f"{CONTENT}:{name}" for name in (*CONTENT_COUNTS, BY_SEGMENT)]
    found: pd.DataFrame = store.get_historical_features(entities, names).to_df()
    if found[list(CONTENT_COUNTS)].isna().all(axis=None):
        raise DataError(
            f"the history has no statistics of the {len(entities)} contents asked for, and a ranker learns from them; "
            "backfill them (without --no-content)"
        )
    return found.set_index(["content_id", "now_us"])[[*CONTENT_COUNTS, BY_SEGMENT]]

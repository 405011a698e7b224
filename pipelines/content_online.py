"""Content statistics into the online store, through Feast: absolute values, where they differ from what is there."""

import logging
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import redis
from feast import FeatureStore
from feast.errors import FeatureViewNotFoundException

from feature_repo.content_earlier import unpack_openings
from feature_repo.content_segments import unpack_segments
from feature_repo.content_stats import ContentStats, read_content
from feature_repo.fields import BY_SEGMENT, CONTENT, OPENINGS
from feature_repo.online_store import connect
from feature_repo.store import apply, feature_store
from firstmile.settings import Settings
from pipelines.content_tiles import HISTORY

log = logging.getLogger(__name__)


class ContentPublisher:
    """Writes rows of `content_stats`; what Redis did not take stays pending for the next call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = connect(settings.redis_url, timeout_s=settings.redis.timeout_s)
        self._pending: pd.DataFrame | None = None

    def publish(self, rows: pd.DataFrame) -> int:
        """Write the last row of each content item; returns how many were new to the store.

        A Redis that does not answer does not stop the archive: the rows are in the history, and tried again with the
        next ones, or at the next start.

        rows
            Columns of the history, one row per content item.
        """
        if self._pending is not None:
            rows = pd.concat([self._pending, rows]).drop_duplicates("content_id", keep="last")
        try:
            n_written = self._write(rows)
        except redis.RedisError as error:
            self._pending = rows
            log.warning("content statistics of %s items wait: Redis does not answer: %s", len(rows), error)
            return 0
        self._pending = None
        return n_written

    @cached_property
    def _store(self) -> FeatureStore:
        store = feature_store(self._settings)
        try:
            known = {feature.name for feature in store.get_feature_view(CONTENT).features}
        except FeatureViewNotFoundException:
            return apply(self._settings)
        return store if OPENINGS in known else apply(self._settings)

    def _write(self, rows: pd.DataFrame) -> int:
        stored = read_content(self._client, rows["content_id"].tolist())
        columns = zip(rows["content_id"], rows[BY_SEGMENT], rows[OPENINGS], strict=True)
        is_new = [c not in stored or _said(stored[c]) != _parsed(*texts) for c, *texts in columns]
        fresh = rows[np.array(is_new, bool)]
        if fresh.empty:
            return 0
        # The store takes only later times; records of one partition may be counted after later ones of another.
        floor_us = [stored[c].known_us + 1 if c in stored else 0 for c in fresh["content_id"]]
        known_us = fresh["event_timestamp"].astype("datetime64[us, UTC]").astype(np.int64).to_numpy()
        times = pd.to_datetime(np.maximum(known_us, floor_us), unit="us", utc=True)
        self._store.write_to_online_store(CONTENT, fresh[HISTORY.names].assign(event_timestamp=times))
        return len(fresh)


def _said(stored: ContentStats) -> tuple[Any, Any]:
    return stored.by_segment, stored.openings


def _parsed(by_segment: str, openings: str | None) -> tuple[Any, Any]:
    return unpack_segments(by_segment), unpack_openings(openings)

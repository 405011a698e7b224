"""A user's features now, by one read of the user's hash: what the hot path uses instead of `get_online_features`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from feature_repo import progress
from feature_repo.activity import windows
from feature_repo.distinct import Distinct, contains, content_hash
from feature_repo.fields import ACTIVITY, CONTEXT, CONTEXT_FIELDS, PROFILE, PROFILE_FIELDS, PROFILE_NUMBERS
from feature_repo.lag import EndOffsets, lag_us, partition_of
from feature_repo.online_store import connect, feature_field, plain_value, time_field, time_of, user_key
from feature_repo.progress import Partition, Progress
from feature_repo.row import unpack_rows
from firstmile.clock import SystemClock
from firstmile.names import EVENT_TOPICS
from firstmile.settings import Settings

_FIELDS = [
    feature_field(ACTIVITY, "activity"),
    time_field(ACTIVITY),
    *(feature_field(PROFILE, name) for name in PROFILE_FIELDS),
    *(feature_field(CONTEXT, name) for name in CONTEXT_FIELDS),
]


@dataclass(frozen=True)
class UserFeatures:
    """What is known of a user at an instant.

    values
        Every feature of `windows` and the profile's numbers, by name; None = not known.
    row_version_us
        When the row was last changed, None = no events yet.
    step
        Latest onboarding step, "" = none.
    """

    user_id: str
    values: Mapping[str, float | None]
    profile: Mapping[str, Any]
    context: Mapping[str, Any]
    row_version_us: int | None
    step: str
    contents: Distinct

    def has_seen(self, content_ids: Iterable[str]) -> list[bool]:
        """Which content the user has opened or completed."""
        return [bool(seen) for seen in contains(self.contents, 0, content_hash(list(content_ids)))]


class OnlineReader:
    """Reads rows and progress records in Feast's own layout."""

    def __init__(self, settings: Settings, *, ends: EndOffsets | None = None, timeout_s: float | None = None) -> None:
        self.client = connect(settings.redis_url, timeout_s=timeout_s or settings.redis.timeout_s)
        self._ends = ends
        self._n_partitions = settings.kafka.partitions
        self._clock = SystemClock()

    def read(self, user_id: str, now_us: int) -> UserFeatures | None:
        """Features at an instant; None when nothing at all is stored of the user.

        Raises redis.RedisError when the store does not answer in time, DataError for damaged bytes.
        """
        stored: list[bytes | None] = self.client.hmget(user_key(user_id), _FIELDS)  # type: ignore[assignment,arg-type]
        return decode(user_id, stored, now_us)

    def pipeline_lag_ms(self, user_id: str, now_us: int | None = None) -> float | None:
        """Greatest lag of the user's partitions; None without a progress record: the store was lost, or never fed."""
        n = self._ends.n_partitions if self._ends else self._n_partitions
        number = partition_of(user_id.encode(), n)
        records = self.read_progress((topic, number) for topic in EVENT_TOPICS)
        if not records:
            return None
        now = self._clock.now_us() if now_us is None else now_us
        return max(self._lag_us(partition, record, now) for partition, record in records.items()) / 1_000

    def read_progress(self, partitions: Iterable[Partition]) -> dict[Partition, Progress]:
        """Progress records of the partitions that have one."""
        return progress.read(self.client, partitions)

    def _lag_us(self, partition: Partition, record: Progress, now_us: int) -> int:
        if self._ends is None:
            return 0
        return lag_us(
            record,
            end_offset=self._ends.ends.get(partition),
            caught_up_us=self._ends.caught_up_us.get(partition, 0),
            now_us=now_us,
        )


def decode(user_id: str, stored: list[bytes | None], now_us: int) -> UserFeatures | None:
    """Features of the fields as read; None when every one is missing. Pure."""
    if all(value is None for value in stored):
        return None
    packed = ValueProto.FromString(stored[0]).bytes_val if stored[0] else None
    rows = unpack_rows([packed])
    found = windows(rows, np.array([now_us], np.int64))
    values: dict[str, float | None] = {
        name: None if np.isnan(column[0]) else float(column[0]) for name, column in found.items()
    }
    end = 2 + len(PROFILE_FIELDS)
    profile = {name: plain_value(value) for name, value in zip(PROFILE_FIELDS, stored[2:end], strict=True)}
    context = {name: plain_value(value) for name, value in zip(CONTEXT_FIELDS, stored[end:], strict=True)}
    values.update({name: profile[name] for name in PROFILE_NUMBERS})
    version_us = time_of(stored[1]) or None
    return UserFeatures(user_id, values, profile, context, version_us, str(rows.step[0]), rows.contents)

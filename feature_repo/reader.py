"""A user's features now, by one read of the user's hash: what the hot path uses instead of `get_online_features`.

OnlineReader blocks; AsyncReader (async_reader.py) reads the same on an event loop.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from google.protobuf.message import DecodeError

from feature_repo import progress
from feature_repo.distinct import Distinct, contains, content_hash, of_row
from feature_repo.fields import ACTIVITY, CONTEXT, CONTEXT_FIELDS, PROFILE, PROFILE_FIELDS, PROFILE_NUMBERS
from feature_repo.lag import EndOffsets, lag_us
from feature_repo.online_store import connect, feature_field, plain_value, time_field, time_of, user_key
from feature_repo.partitions import partitions_of
from feature_repo.progress import Partition, Progress
from feature_repo.row import unpack_rows
from feature_repo.values import NAMES, FeatureValues
from feature_repo.window_loops import Floats
from feature_repo.windows import FEATURE_NAMES, window_table
from firstmile.clock import SystemClock
from firstmile.errors import DataError
from firstmile.names import EVENT_TOPICS
from firstmile.settings import Settings

log = logging.getLogger(__name__)
FIELDS = [
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


Found = tuple[UserFeatures | Exception | None, float | None]
"""A user's features, or what is wrong with the row, and the pipeline lag in ms; None where there is none."""


@dataclass(frozen=True)
class Trip:
    """One question to the store about users, (user id, instant) each.

    numbers
        The numbers of the partitions of each: one, more for a while after topics grew.
    """

    asked: Sequence[tuple[str, int]]
    numbers: Sequence[tuple[int, ...]]
    partitions: Sequence[Partition]

    @property
    def hashes(self) -> list[tuple[str | bytes, Sequence[str | bytes]]]:
        """Keys and fields to read: the progress records, then each user's row."""
        records = progress.KEY, [progress.field(p) for p in self.partitions]
        return [records, *((user_key(user_id), FIELDS) for user_id, _ in self.asked)]


class OnlineReader:
    """Reads rows and progress records in Feast's own layout.

    ends
        Where topics end and how many partitions they have; without, users lie where the settings say, and a partition
        that has a record has no lag.
    """

    def __init__(self, settings: Settings, *, ends: EndOffsets | None = None, timeout_s: float | None = None) -> None:
        self.client = connect(settings.redis_url, timeout_s=timeout_s or settings.redis.timeout_s)
        self._ends = ends
        self._counts = (settings.kafka.partitions,)
        self._clock = SystemClock()
        self._damaged: Set[Partition] = frozenset()

    def read(self, user_id: str, now_us: int) -> UserFeatures | None:
        """Features at an instant; None when nothing at all is stored of the user.

        Raises redis.RedisError when the store does not answer in time, DataError for damaged bytes.
        """
        stored: list[bytes | None] = self.client.hmget(user_key(user_id), FIELDS)  # type: ignore[assignment,arg-type]
        return decode(user_id, stored, now_us)

    def read_many(self, asked: Sequence[tuple[str, int]]) -> "list[Found]":
        """Features and pipeline lag of many users, (user id, instant) each, by one trip to the store.

        A damaged row has its error in its place. Raises redis.RedisError when the store does not answer in time.
        """
        trip = self.trip(asked)
        with self.client.pipeline(transaction=False) as pipe:
            for key, fields in trip.hashes:
                pipe.hmget(key, fields)  # type: ignore[arg-type]
            return self.found(trip, pipe.execute(raise_on_error=False))

    def trip(self, asked: Sequence[tuple[str, int]]) -> "Trip":
        """What to ask the store of users, (user id, instant) each."""
        counts = self._counts_in_use()
        numbers = [partitions_of(user_id.encode(), counts) for user_id, _ in asked]
        return Trip(asked, numbers, [(topic, number) for topic in EVENT_TOPICS for number in set(chain(*numbers))])

    def found(self, trip: "Trip", replies: Sequence[Any]) -> "list[Found]":
        """Features and lags in the store's replies, in the order asked; a key of another type is its user's damage.

        Raises the store's error when it refused for any other reason: that is about all of them.
        """
        for refusal in (reply for reply in replies if isinstance(reply, Exception)):
            if not str(refusal).startswith("WRONGTYPE"):
                raise refusal
        records, *stored = replies
        if isinstance(records, Exception):
            raise records
        now_us = self._clock.now_us()
        lags_ms = self._lags_ms(trip.partitions, records, now_us)
        rows = decode_many(trip.asked, stored)
        return [(row, self._lag_ms(of, lags_ms, now_us)) for row, of in zip(rows, trip.numbers, strict=True)]

    def pipeline_lag_ms(self, user_id: str, now_us: int | None = None) -> float | None:
        """Greatest lag of the user's partitions; None without a progress record, the store was lost or never fed, and
        with one that is damaged."""
        trip = self.trip([(user_id, 0)])
        now = self._clock.now_us() if now_us is None else now_us
        lags_ms = self._lags_ms(trip.partitions, progress.stored(self.client, trip.partitions), now)
        return self._lag_ms(trip.numbers[0], lags_ms, now)

    def n_recorded(self) -> int:
        """How many partitions of a topic there are progress records of."""
        return progress.n_partitions(self.client, EVENT_TOPICS)

    def read_progress(self, partitions: Iterable[Partition]) -> dict[Partition, Progress]:
        """Progress records of the partitions that have one we can read; others are said."""
        wanted = list(partitions)
        records, damaged = progress.of_fields(wanted, progress.stored(self.client, wanted))
        if damaged.keys() - self._damaged:
            log.warning("lag is not known of %s", "; ".join(f"{progress.field(p)}: {e}" for p, e in damaged.items()))
        self._damaged = damaged.keys()
        return records

    def _counts_in_use(self) -> tuple[int, ...]:
        return self._ends.counts.in_use if self._ends else self._counts

    def _lag_ms(self, numbers: tuple[int, ...], lags_ms: Mapping[int, float | None], now_us: int) -> float | None:
        """Greatest lag of a user's partitions; None when one is not known, or the stream has a record of none."""
        found = [lags_ms[number] for number in numbers if number in lags_ms]
        known = [lag_ms for lag_ms in found if lag_ms is not None]
        if not found or len(known) < len(found):
            return None
        if self._ends and len(found) < len(numbers):  # a partition so new that the stream has not begun it
            known += [self._ends.unbegun_us(n, now_us) / 1_000 for n in numbers if n not in lags_ms]
        return max(known)

    def _lags_ms(
        self, partitions: Sequence[Partition], stored: Sequence[bytes | None], now_us: int
    ) -> dict[int, float | None]:
        """Greatest lag by a partition's number, where there is a record; None where one is damaged."""
        records, damaged = progress.of_fields(partitions, stored)
        lags_ms: dict[int, float] = {}
        for partition, record in records.items():
            lag_ms = self._lag_us(partition, record, now_us) / 1_000
            lags_ms[partition[1]] = max(lag_ms, lags_ms.get(partition[1], 0.0))
        return {**lags_ms, **{number: None for _, number in damaged}}

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
    (found,) = decode_many([(user_id, now_us)], [stored])
    if isinstance(found, Exception):
        raise found
    return found


def decode_many(
    asked: Sequence[tuple[str, int]], stored: Sequence[list[bytes | None] | Exception]
) -> list[UserFeatures | Exception | None]:
    """Features of many users, (user id, instant) each; None where every field is missing, in a damaged row's place what
    is wrong with it. Pure. Most of its cost is per call and not per user.

    stored
        The fields of each, or why the store did not give them.
    """
    found: list[UserFeatures | Exception | None] = [s if isinstance(s, Exception) else None for s in stored]
    given = [i for i, fields in enumerate(stored) if not isinstance(fields, Exception)]
    try:
        rows = _decoded([asked[i] for i in given], [stored[i] for i in given])  # type: ignore[misc]
    except (DataError, DecodeError, ValueError) as error:
        for i in given:  # one of them is damaged: each by itself
            found[i] = error if len(given) == 1 else decode_many([asked[i]], [stored[i]])[0]
        return found
    for i, row in zip(given, rows, strict=True):
        found[i] = row
    return found


def _decoded(asked: Sequence[tuple[str, int]], stored: Sequence[list[bytes | None]]) -> list[UserFeatures | None]:
    found: list[UserFeatures | None] = [None] * len(asked)
    known = [i for i, fields in enumerate(stored) if any(value is not None for value in fields)]
    if not known:
        return found
    rows = unpack_rows([_packed(stored[i]) for i in known])
    table = np.full((len(known), len(NAMES)), np.nan)
    table[:, : len(FEATURE_NAMES)] = window_table(rows, np.array([asked[i][1] for i in known], np.int64)).T
    for row, i in enumerate(known):
        contents = rows.contents if len(known) == 1 else of_row(rows.contents, row)
        found[i] = _user(asked[i][0], stored[i], table[row], str(rows.step[row]), contents)
    return found


def _packed(fields: list[bytes | None]) -> bytes | None:
    return ValueProto.FromString(fields[0]).bytes_val if fields[0] else None


def _user(user_id: str, fields: list[bytes | None], numbers: Floats, step: str, contents: Distinct) -> UserFeatures:
    end = 2 + len(PROFILE_FIELDS)
    profile = {name: plain_value(value) for name, value in zip(PROFILE_FIELDS, fields[2:end], strict=True)}
    context = {name: plain_value(value) for name, value in zip(CONTEXT_FIELDS, fields[end:], strict=True)}
    for at, name in enumerate(PROFILE_NUMBERS, len(FEATURE_NAMES)):
        if isinstance(profile[name], int | float):
            numbers[at] = profile[name]
    version_us = time_of(fields[1]) or None
    return UserFeatures(user_id, FeatureValues(numbers), profile, context, version_us, step, contents)

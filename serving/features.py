"""What is read of a user for one answer: the whole row at one instant, and how fresh it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from feature_repo.distinct import Distinct, contains
from feature_repo.fields import PROFILE, PROFILE_NUMBERS
from firstmile.clock import MICROS_PER_S
from serving.facts import Facts, Values

INSTANT_US: Final = 60 * MICROS_PER_S

Standing = Literal["known", "new", "behind", "lost", "unreadable"]


class UserRow(Protocol):
    """A user's features at one instant: feature_repo.reader.UserFeatures, or a fake."""

    @property
    def values(self) -> Values: ...
    @property
    def profile(self) -> Mapping[str, Any]: ...
    @property
    def context(self) -> Mapping[str, Any]: ...
    @property
    def row_version_us(self) -> int | None: ...
    @property
    def contents(self) -> Distinct: ...


class Reader(Protocol):
    """Where rows are read: feature_repo.async_reader.AsyncReader, or a fake."""

    async def read_many(
        self, asked: Sequence[tuple[str, int]]
    ) -> Sequence[tuple[UserRow | Exception | None, float | None]]: ...


@dataclass(frozen=True)
class Reading:
    """One read: the row if there is one, and its pipeline lag (None: no progress record)."""

    row: UserRow | None
    lag_ms: float | None
    unreadable: bool = False

    def standing(self, *, lag_budget_ms: float) -> Standing:
        """What the read says of the user.

        known
            A row, fresh enough, or of unknown lag: history that no stream has continued yet.
        new
            No events yet, while the stream keeps up.
        behind
            The stream has unread records for this user's partition, older than the budget.
        lost
            Neither row nor progress record: the store was emptied.
        unreadable
            There is a row, and it is broken.
        """
        if self.unreadable:
            return "unreadable"
        has_events = self.row is not None and self.row.row_version_us is not None
        if self.lag_ms is None:
            return "known" if has_events else "lost"
        if self.lag_ms > lag_budget_ms:
            return "behind"
        return "known" if has_events else "new"

    def missing_views(self) -> frozenset[str]:
        """Views of which no feature is known: one never said, blanked or deleted, of which only a time is left."""
        known = () if self.row is None else (self.row.profile.get(name) for name in PROFILE_NUMBERS)
        return frozenset({PROFILE}) if all(value is None for value in known) else frozenset()

    def facts(self, request: Mapping[str, str]) -> Facts:
        """What rules and ranking may look at; a read without a row knows only the request."""
        if self.row is None:
            return Facts(request=request)
        return Facts(
            features=self.row.values,
            profile=_given(self.row.profile),
            context=_given(self.row.context),
            request=request,
            seen=_seen(self.row.contents),
        )


async def read_users(reader: Reader, asked: Sequence[tuple[str, int]]) -> list[Reading]:
    """Rows and lags of users, (user id, instant) each. A row that cannot be decoded is a reading too: the store did
    answer."""
    return [
        Reading(None, lag_ms, unreadable=True) if isinstance(row, Exception) else Reading(row, lag_ms)
        for row, lag_ms in await reader.read_many(asked)
    ]


def instant_us(now_us: int) -> int:
    """The instant features are asked for: the last microsecond of the minute, so that the same row gives the same
    answer all through it. Windows are made of tiles of whole minutes or more, so no count changes by it.

    >>> instant_us(0), instant_us(59_999_999), instant_us(60_000_000)
    (59999999, 59999999, 119999999)
    """
    return now_us - now_us % INSTANT_US + INSTANT_US - 1


@lru_cache(maxsize=64)
def views_of(features: tuple[str, ...]) -> frozenset[str]:
    """Views that may be missing and that these features come from."""
    return frozenset({PROFILE}) if set(features) & set(PROFILE_NUMBERS) else frozenset()


def _given(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: text for name, text in fields.items() if isinstance(text, str) and text}


def _seen(contents: Distinct) -> Callable[[NDArray[np.int64]], NDArray[np.bool_]]:
    """Remembers its last answer: ranker, ranking and log ask about the same shelf, and it takes 0.1 ms."""
    last: tuple[NDArray[np.int64], NDArray[np.bool_]] | None = None

    def seen(hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
        nonlocal last
        if last is None or last[0] is not hashes:
            found = contains(contents, 0, hashes)
            found.flags.writeable = False  # it is everybody's
            last = hashes, found
        return last[1]

    return seen

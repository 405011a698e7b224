"""The last good assessments: what a user is answered from when reading or scoring fails."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from firstmile.clock import MICROS_PER_S

T = TypeVar("T")


@dataclass(frozen=True)
class _Kept(Generic[T]):
    value: T
    at_us: int


class LastGood(Generic[T]):
    """At most `n_users` values, the longest unused goes first; none older than `max_age_s` is given out.

    >>> last = LastGood[str](n_users=1, max_age_s=10)
    >>> last.put("u1", "a", now_us=0); last.put("u2", "b", now_us=0)
    >>> last.get("u1", now_us=0), last.get("u2", now_us=10_000_000), last.get("u2", now_us=10_000_001)
    (None, 'b', None)
    """

    def __init__(self, *, n_users: int, max_age_s: float) -> None:
        self._n_users = n_users
        self._max_age_us = int(max_age_s * MICROS_PER_S)
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, user_id: str, value: T, *, now_us: int) -> None:
        """Keep a value as the user's last."""
        self._kept[user_id] = _Kept(value, now_us)
        self._kept.move_to_end(user_id)
        while len(self._kept) > self._n_users:
            self._kept.popitem(last=False)

    def get(self, user_id: str, *, now_us: int) -> T | None:
        """The user's last value, None when there is none or it is too old."""
        kept = self._kept.get(user_id)
        if kept is None or now_us - kept.at_us > self._max_age_us:
            return None
        self._kept.move_to_end(user_id)
        return kept.value

    def drop(self, user_id: str) -> None:
        """Forget a user."""
        self._kept.pop(user_id, None)

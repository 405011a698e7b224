"""Time as an argument: production passes SystemClock, tests a clock they move."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

MICROS_PER_S = 1_000_000
MICROS_PER_DAY = 86_400 * MICROS_PER_S


class Clock(Protocol):
    """Anything that knows the time."""

    def now_us(self) -> int:
        """Microseconds since epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000


@dataclass
class FixedClock:
    """A clock that stands still until `now` is set; for tests and replays."""

    now: int

    def now_us(self) -> int:
        return self.now


def to_datetime(us: int) -> datetime:
    """Aware UTC datetime of microseconds since epoch, exact.

    >>> to_datetime(1_000_001).isoformat()
    '1970-01-01T00:00:01.000001+00:00'
    """
    seconds, micros = divmod(int(us), MICROS_PER_S)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=micros)


def to_us(moment: datetime) -> int:
    """Microseconds since epoch of an aware datetime, exact.

    >>> to_us(to_datetime(1_700_000_000_123_457))
    1700000000123457
    """
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * MICROS_PER_S + delta.microseconds


def iso(us: int) -> str:
    """ISO 8601 text in UTC of microseconds since epoch.

    >>> iso(0)
    '1970-01-01T00:00:00+00:00'
    """
    return to_datetime(us).isoformat()

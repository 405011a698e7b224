"""Reads cron expressions as cron(5) does, in UTC. APScheduler finds the times.

APScheduler's own reader is not used: it counts weekdays from Monday, and holds a day against day of month and weekday
both where cron(5) asks for one of them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from firstmile.errors import DependencyError, SettingsError

NextTime = Callable[[datetime], datetime]
"""Gives the first time of an expression at or after an aware time."""


@dataclass(frozen=True)
class _Field:
    """A field's name and range; names[i] means low + i."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, MONTHS),
    _Field("weekday", 0, 7, WEEKDAYS),  # 0 and 7 are Sunday
)
NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
"""Days of the months that never have 31."""
_PART: Final = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)


def cron(expression: str, *, setting: str) -> NextTime:
    """The times of a cron expression: five fields, or one of NICKNAMES.

    Where neither day of month nor weekday begins with `*`, a day needs to satisfy one of the two; otherwise both.

    setting
        Where the expression comes from, for the error.

    Raises SettingsError for an expression that cannot be read or never comes, DependencyError without APScheduler.

    >>> cron("0 3 * * 0", setting="x")(datetime(2026, 11, 26, tzinfo=UTC)).isoformat()
    '2026-11-29T03:00:00+00:00'
    """
    try:
        texts, numbers = _read(expression)
    except ValueError as error:
        raise SettingsError(
            f"{setting} is {expression!r}: {error}; five fields are read, minute hour day month weekday, for example "
            f"'0 3 * * sun', or one of {', '.join(NICKNAMES)}"
        ) from error
    minutes, hours, days, months, weekdays = numbers
    at = {"minute": _listed(minutes), "hour": _listed(hours), "month": _listed(months)}
    named = ",".join(WEEKDAYS[number] for number in sorted(weekdays))
    if texts[2].startswith("*") or texts[4].startswith("*"):
        return _times({**at, "day": _listed(days), "day_of_week": named})
    by_day = [{**at, "day": _listed(days)}] if _has_day(days, months) else []
    return _times(*by_day, {**at, "day_of_week": named})


def _read(expression: str) -> tuple[list[str], list[set[int]]]:
    """The five fields as texts and as numbers, Sunday as 0. Raises ValueError saying what is wrong."""
    lower = expression.strip().lower()
    if lower.startswith("@") and lower not in NICKNAMES:
        raise ValueError(f"{lower} is not known")
    texts = NICKNAMES.get(lower, lower).split()
    if len(texts) != len(FIELDS):
        raise ValueError(f"it has {len(texts)} fields")
    numbers = [_numbers(text, field) for text, field in zip(texts, FIELDS, strict=True)]
    numbers[4] = {number % 7 for number in numbers[4]}
    if texts[4].startswith("*") and not _has_day(numbers[2], numbers[3]):
        raise ValueError(f"no month of {texts[3]} has a day {texts[2]}")
    return texts, numbers


def _numbers(text: str, field: _Field) -> set[int]:
    return {number for part in text.split(",") for number in _part(part, field)}


def _part(part: str, field: _Field) -> range:
    """One entry of a list: `*`, `a` or `a-b`, the first and last with an optional `/step`."""
    found = _PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{field.name} {part!r} is not *, a number, a range a-b, or */n and a-b/n")
    if found["first"] is None:
        first, last = field.low, field.high
    else:
        first = _number(found["first"], field)
        last = first if found["last"] is None else _number(found["last"], field)
        if found["last"] == "sun" and first > 0:
            last = 7  # fri-sun
        if found["step"] and found["last"] is None:
            raise ValueError(f"{field.name} {part!r} has a step without a range; {first}-{field.high}/{found['step']}?")
    if last < first:
        raise ValueError(f"{field.name} {part!r} goes backwards; write two ranges, separated by a comma")
    step = int(found["step"] or 1)
    if not 1 <= step <= field.high:
        raise ValueError(f"{field.name} {part!r} has a step of {step}, allowed: 1 to {field.high}")
    return range(first, last + 1, step)


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.low + field.names.index(text)
    if not text.isdecimal() or not field.low <= int(text) <= field.high:
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(f"{field.name} {text!r} is not allowed, only {field.low} to {field.high}{names}")
    return int(text)


def _has_day(days: set[int], months: set[int]) -> bool:
    """Whether one of the months is ever long enough for one of the days."""
    return any(min(days) <= _LONGEST.get(month, 31) for month in months)


def _listed(numbers: set[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers))


def _times(*fields: dict[str, str]) -> NextTime:
    """The times at which one of the descriptions, in APScheduler's words, holds."""
    try:  # here: only who follows a schedule has it installed
        from apscheduler.triggers.combining import OrTrigger
        from apscheduler.triggers.cron import CronTrigger
    except ImportError as error:
        raise DependencyError("a cron expression needs APScheduler; install firstmile[train]") from error
    trigger: Any = OrTrigger([CronTrigger(**each, timezone=UTC) for each in fields])

    def next_time(now: datetime) -> datetime:
        found: datetime = trigger.get_next_fire_time(None, now)
        return found

    return next_time

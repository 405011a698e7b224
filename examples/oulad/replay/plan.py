"""What a replay covers: which days of which presentations, moved by how many days; and whether history has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import orjson
from pydantic import BaseModel, ValidationError

from examples.oulad.tables.tables import live_shift_days
from firstmile.errors import ConflictError, DataError, UsageError

# Beyond any day of any presentation: stands for "no limit".
_FAR = 10**6


@dataclass(frozen=True)
class Span:
    """Days of one presentation, both ends included (None: no limit), and the whole days added to the calendar."""

    from_day: int | None
    to_day: int | None
    shift_days: int = 0

    def __str__(self) -> str:
        first = "the first" if self.from_day is None else str(self.from_day)
        last = "the last" if self.to_day is None else str(self.to_day)
        return f"days {first} to {last}" + (f" moved by {self.shift_days} days" if self.shift_days else "")

    def meets(self, other: "Span") -> bool:
        """Whether both hold a day of the presentation, or a day of the calendar, in common."""
        return any(
            max(a_first, b_first) <= min(a_last, b_last)
            for (a_first, a_last), (b_first, b_last) in zip(self._ranges(), other._ranges(), strict=True)
        )

    def _ranges(self) -> list[tuple[int, int]]:
        first = -_FAR if self.from_day is None else self.from_day
        last = _FAR if self.to_day is None else self.to_day
        return [(first, last), (first + self.shift_days, last + self.shift_days)]


class _HistorySpan(BaseModel):
    from_day: int | None = None
    to_day: int | None = None
    shift_days: int = 0


class _History(BaseModel):
    presentations: dict[str, _HistorySpan]


def plan(
    presentations: Sequence[str], *, from_day: int | None, to_day: int | None, live_on: date | None
) -> dict[str, Span]:
    """The span of each presentation; `live_on` puts `to_day` on that date, None leaves the calendar as it is.

    Raises UsageError for an empty range, or a live replay without its last day.
    """
    if from_day is not None and to_day is not None and from_day > to_day:
        raise UsageError(f"--from-day {from_day} lies after --to-day {to_day}; give the earlier day first")
    if live_on is None:
        return {p: Span(from_day, to_day) for p in presentations}
    if to_day is None:
        raise UsageError("--live needs --to-day: the day of the course that is put on today")
    return {p: Span(from_day, to_day, live_shift_days(p, to_day, live_on)) for p in presentations}


def read_history(path: Path) -> dict[str, Span]:
    """What the backfill has made history, by presentation; nothing when it has not run.

    Raises DataError when the file is not what the backfill writes.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        found = _History.model_validate(orjson.loads(text)).presentations
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise DataError(f"{path} is not the record of a backfill: {error}; run `firstmile backfill` again") from error
    return {name: Span(s.from_day, s.to_day, s.shift_days) for name, s in found.items()}


def refuse_overlap(spans: Mapping[str, Span], history: Mapping[str, Span]) -> None:
    """Raises ConflictError when a span holds events that the materialized history has already counted."""
    for name, span in spans.items():
        past = history.get(name)
        if past is not None and span.meets(past):
            raise ConflictError(
                f"the replay of {name}, {span}, overlaps its materialized history, {past}: "
                "those events would be counted twice; choose other days or --presentations, "
                "or empty the online store and pass --fresh"
            )

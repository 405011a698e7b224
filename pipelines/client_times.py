"""Times as clients write them: ISO 8601 in its variants, epoch seconds to nanoseconds, dates of Java and browsers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from fractions import Fraction
from typing import Any, Final

from firstmile.clock import MICROS_PER_S, to_us
from pipelines.call_fields import CallError, shown

MAX_CHARS: Final = 100
LATEST_US: Final = 253_402_300_799_999_999
"""The end of the year 9999, with which calendars end."""
UNITS: Final = ((10**11, MICROS_PER_S), (10**14, 1_000), (10**17, 1), (10**20, Fraction(1, 1_000)))
"""A number below the first is in a unit of the second, in µs: seconds reach the year 5138, milliseconds too."""
WORDED: Final = (
    "%b %d, %Y %I:%M:%S %p",  # Java's Date by Gson, and by a newer JDK
    "%b %d, %Y, %I:%M:%S %p",
    "%a %b %d %Y %H:%M:%S GMT%z",  # a browser's Date as text
    "%a %b %d %H:%M:%S %Z %Y",  # Java's Date as text
)

_NUMBER: Final = re.compile(r"\d{9,20}(\.\d{1,9})?", re.ASCII)
_LEAP: Final = re.compile(r"(T\d\d:?[0-5]\d:?)60(?!\d)", re.ASCII)
_ISO_START: Final = re.compile(r"(\d{4}-?\d\d-?\d\d)(?: +|T)(?=\d\d)", re.ASCII)
_ZONE: Final = re.compile(r"(\d) *(?:Z|UTC|GMT)$|(\d) +(?=[+-]\d)", re.ASCII)
_RFC_2822: Final = re.compile(r"[A-Z][a-z]{2}, \d", re.ASCII)


def instant_us(value: Any, field: str) -> int | None:
    """A time of 1970 or later as µs since epoch, UTC when it names no offset; None when nothing is said.

    Raises CallError when it is no time.

    >>> [instant_us(said, "timestamp") for said in ("2026-11-23t10:00:00.5z", 1795428000.5, "1795428000500", "")]
    [1795428000500000, 1795428000500000, 1795428000500000, None]
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        us = _read_us(value)
    except (TypeError, ValueError, OverflowError):
        us = -1
    if not 0 <= us <= LATEST_US:
        raise CallError(
            "bad_time",
            f"{field} {shown(value)} is not a time of 1970 or later",
            "send ISO 8601 text like 2026-11-23T10:00:00.000Z",
        )
    return us


def _read_us(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    if not isinstance(value, str):
        return _epoch_us(Fraction(value))
    text = value.strip()
    if len(text) > MAX_CHARS:
        raise ValueError
    if _NUMBER.fullmatch(text):
        return _epoch_us(Fraction(text))
    moment = _first(text, (_iso, _rfc_2822, *(_worded(form) for form in WORDED)))
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _epoch_us(number: Fraction) -> int:
    unit = next((unit for bound, unit in UNITS if number < bound), None)
    if unit is None:
        raise OverflowError
    return round(number * unit)


def _first(text: str, readers: tuple[Callable[[str], datetime], ...]) -> datetime:
    for read in readers:
        try:
            return read(text)
        except ValueError:
            continue
    raise ValueError


def _iso(text: str) -> datetime:
    """ISO 8601, also with small letters, blanks, a zone by name or a leap second, which is the next one's beginning."""
    text = _ISO_START.sub(r"\1T", text.upper(), count=1)
    text = _ZONE.sub(lambda found: f"{found[1]}Z" if found[1] else found[2], text)
    plain = _LEAP.sub(r"\g<1>59", text)
    return datetime.fromisoformat(plain) + timedelta(seconds=plain != text)


def _rfc_2822(text: str) -> datetime:
    if not _RFC_2822.match(text):  # it reads much else, and reads it wrong
        raise ValueError
    return parsedate_to_datetime(text)


def _worded(form: str) -> Callable[[str], datetime]:
    def read(text: str) -> datetime:
        # A newer JDK puts a narrow blank before AM; a browser adds the zone's name in brackets.
        return datetime.strptime(text.replace("\u202f", " ").partition(" (")[0], form)

    return read

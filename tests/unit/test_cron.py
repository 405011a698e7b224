"""Cron expressions against a matcher of its own that asks of every minute whether cron(5) would run."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firstmile.cron import cron
from firstmile.errors import SettingsError

MINUTE = timedelta(minutes=1)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
N_COMPARED = 100
WEEKS = 4


def entry_matches(entry: str, value: int, low: int, high: int) -> bool:
    """Whether one entry of a list means the value; names are numbers already."""
    span, _, step = entry.partition("/")
    first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
    return int(first) <= value <= int(last or first) and (value - int(first)) % int(step or 1) == 0


@cache
def field_matches(text: str, value: int, low: int, high: int) -> bool:
    return any(entry_matches(entry, value, low, high) for entry in text.split(","))


@cache
def in_numbers(text: str, names: tuple[str, ...], low: int) -> str:
    text = text.replace("sun-sun", "sun").replace("-sun", "-7")
    for i, name in enumerate(names):
        text = text.replace(name, str(i + low))
    return text


def runs_at(expression: str, at: datetime) -> bool:
    minute, hour, day, month, weekday = expression.lower().split()
    month, weekday = in_numbers(month, MONTHS, 1), in_numbers(weekday, DAYS, 0)
    if not (field_matches(minute, at.minute, 0, 59) and field_matches(hour, at.hour, 0, 23)):
        return False
    sunday_is_0 = at.isoweekday() % 7
    by_weekday = field_matches(weekday, sunday_is_0, 0, 7) or (sunday_is_0 == 0 and field_matches(weekday, 7, 0, 7))
    by_day = field_matches(day, at.day, 1, 31)
    is_day = by_day and by_weekday if day[0] == "*" or weekday[0] == "*" else by_day or by_weekday
    return is_day and field_matches(month, at.month, 1, 12)


def brute_force(expression: str, begin: datetime, end: datetime) -> Iterator[datetime]:
    while begin < end:
        if runs_at(expression, begin):
            yield begin
        begin += MINUTE


def scheduled(expression: str, begin: datetime, end: datetime) -> Iterator[datetime]:
    next_time = cron(expression, setting="TEST")
    at = next_time(begin)
    while at < end:
        yield at
        at = next_time(at + timedelta(seconds=1))


def first_n(times: Iterator[datetime]) -> list[datetime]:
    return [at for at, _ in zip(times, range(N_COMPARED), strict=False)]


def entries(low: int, high: int, names: tuple[str, ...]) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ordered = st.tuples(number, number).map(sorted)
    kinds = [
        st.just("*"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
        number.map(str),
        ordered.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.tuples(ordered, st.integers(1, high)).map(lambda found: f"{found[0][0]}-{found[0][1]}/{found[1]}"),
    ]
    if names:
        place = st.integers(0, len(names) - 1)
        kinds.append(place.map(lambda i: names[i]))
        kinds.append(st.tuples(place, place).map(sorted).map(lambda ends: f"{names[ends[0]]}-{names[ends[1]].upper()}"))
    return st.one_of(kinds)


def fields(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    return st.lists(entries(low, high, names), min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12, MONTHS), fields(0, 7, DAYS)).map(
    " ".join
)
BEGINNINGS = st.datetimes(datetime(2023, 12, 1), datetime(2028, 3, 1)).map(
    lambda found: found.replace(second=0, microsecond=0, tzinfo=UTC)
)


@settings(deadline=None, max_examples=40)
@given(expression=EXPRESSIONS, begin=BEGINNINGS)
@example(expression="0 3 * * 0", begin=datetime(2026, 11, 1, tzinfo=UTC))
@example(expression="0 3 * * 7", begin=datetime(2026, 11, 1, tzinfo=UTC))
@example(expression="0 3 * * fri-sun", begin=datetime(2026, 11, 1, tzinfo=UTC))
@example(expression="0 3 13 * 5", begin=datetime(2026, 11, 1, tzinfo=UTC))
@example(expression="0 3 */2 * 1", begin=datetime(2026, 11, 1, tzinfo=UTC))
@example(expression="0 3 29,30,31 feb,mar *", begin=datetime(2028, 2, 1, tzinfo=UTC))
@example(expression="0 3 31 2 sat", begin=datetime(2028, 2, 1, tzinfo=UTC))
def test_times_are_those_at_which_cron_would_run(expression: str, begin: datetime) -> None:
    end = begin + timedelta(weeks=WEEKS)
    assert first_n(scheduled(expression, begin, end)) == first_n(brute_force(expression, begin, end))


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("0 3 * * 0", "Sun 2026-11-29 03:00"),
        ("0 3 * * 7", "Sun 2026-11-29 03:00"),
        ("0 3 * * 1", "Mon 2026-11-30 03:00"),
        ("0 3 * * SUN", "Sun 2026-11-29 03:00"),
        ("0 0 28 * fri", "Fri 2026-11-27 00:00"),
        ("0 0 29 2 *", "Tue 2028-02-29 00:00"),
        ("*/20 * * * *", "Thu 2026-11-26 12:20"),
        ("@hourly", "Thu 2026-11-26 13:00"),
        ("@daily", "Fri 2026-11-27 00:00"),
        ("@midnight", "Fri 2026-11-27 00:00"),
        (" @weekly ", "Sun 2026-11-29 00:00"),
        ("@monthly", "Tue 2026-12-01 00:00"),
        ("@yearly", "Fri 2027-01-01 00:00"),
        ("@annually", "Fri 2027-01-01 00:00"),
    ],
)
def test_next_time_of_known_expressions(expression: str, found: str) -> None:
    now = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)
    assert f"{cron(expression, setting='TEST')(now):%a %Y-%m-%d %H:%M}" == found


def test_time_that_is_now_counts() -> None:
    now = datetime(2026, 11, 29, 3, tzinfo=UTC)
    assert cron("0 3 * * 0", setting="TEST")(now) == now


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("weekly", "it has 1 fields"),
        ("", "it has 0 fields"),
        ("0 3 * * * *", "it has 6 fields"),
        ("@reboot", "@reboot is not known"),
        ("60 * * * *", "minute '60' is not allowed, only 0 to 59"),
        ("0 24 * * *", "hour '24' is not allowed, only 0 to 23"),
        ("0 0 0 * *", "day of month '0' is not allowed, only 1 to 31"),
        ("0 0 * 13 *", "month '13' is not allowed, only 1 to 12 or jan to dec"),
        ("0 0 * * 8", "weekday '8' is not allowed, only 0 to 7 or sun to sat"),
        ("0 0 * * funday", "weekday 'funday' is not allowed"),
        ("0 0 * sun *", "month 'sun' is not allowed"),
        ("5/15 * * * *", "minute '5/15' has a step without a range; 5-59/15?"),
        ("*/0 * * * *", "has a step of 0, allowed: 1 to 59"),
        ("*/90 * * * *", "has a step of 90, allowed: 1 to 59"),
        ("30-10 * * * *", "minute '30-10' goes backwards; write two ranges"),
        ("0 0 * * sat-mon", "weekday 'sat-mon' goes backwards"),
        ("0 0 L * *", "day of month 'l' is not allowed"),
        ("0 0 ? * *", "day of month '?' is not"),
        ("1,,2 * * * *", "minute '' is not"),
        ("-1 * * * *", "minute '-1' is not"),
        ("0 0 31 2,4 *", "no month of 2,4 has a day 31"),
    ],
)
def test_expressions_that_cannot_be_read_say_what_is_wrong(expression: str, said: str) -> None:
    with pytest.raises(SettingsError, match=r"THE_SETTING is .*five fields are read.*0 3 \* \* sun.*@weekly") as caught:
        cron(expression, setting="THE_SETTING")
    assert said in str(caught.value)

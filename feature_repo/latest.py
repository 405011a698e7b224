"""Merges what sources say of a user over time: of every field the latest by source time wins.

A statement names some fields (an empty text removes one); the others stay. A whole statement removes those it does not
name, as a deletion removes all. Merging is the same in any order, any grouping and any number of times, so the stream,
the backfill and `feast materialize` agree however their statements arrive.
Source: last-writer-wins map, Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data
Types", 2011, section 3.2.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from feature_repo.fields import (
    CONTEXT,
    CONTEXT_STRINGS,
    CONTEXT_TIME,
    CONTEXT_TIMES,
    PROFILE,
    PROFILE_INTEGERS,
    PROFILE_REALS,
    PROFILE_STRINGS,
    PROFILE_TIME,
    PROFILE_TIMES,
)

Time = tuple[int, int]
"""When it was so at the source, and of equal ones when we had it; both µs since epoch."""
NEVER: Final[Time] = (0, 0)
_EVERYTHING: Final = "*"
"""Stands for all fields in the stored times: when the last whole statement was made."""


@dataclass(frozen=True)
class LatestView:
    """A Feast view that holds what sources said last.

    time_name
        Field with the greatest source time, µs.
    times_name
        Field with the time of every other field: `pack_times`.
    """

    name: str
    texts: tuple[str, ...]
    integers: tuple[str, ...]
    reals: tuple[str, ...]
    time_name: str
    times_name: str

    @property
    def said_names(self) -> tuple[str, ...]:
        """The fields sources speak of."""
        return (*self.texts, *self.integers, *self.reals)

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field as it is stored."""
        return (*self.said_names, self.time_name, self.times_name)

    def read(self, stored: Mapping[str, Any]) -> "Latest":
        """What is stored, by name of `fields`. Raises orjson.JSONDecodeError or ValueError for damaged times."""
        texts = {n: str(stored[n]) for n in self.said_names if stored.get(n) is not None and stored[n] == stored[n]}
        times, at_us = stored.get(self.times_name), stored.get(self.time_name)
        if not at_us or at_us != at_us:
            return NOTHING
        if not isinstance(times, str) or not times:  # written before fields had times: all was said at once
            return said(self, texts, (int(at_us), int(at_us)), is_whole=True)
        replaced, by_name = _unpack_times(times, int(at_us), texts)
        return Latest({n: (*at, texts.get(n, "")) for n, at in by_name.items()}, replaced)

    def stored(self, latest: "Latest") -> dict[str, str | int | float | None]:
        """The value of every field, None where nothing is known."""
        values = latest.values
        return {
            **{name: values.get(name) for name in self.texts},
            **{name: whole_number(values.get(name)) for name in self.integers},
            **{name: real_number(values.get(name)) for name in self.reals},
            self.time_name: latest.source_us,
            self.times_name: _pack_times(latest) if latest != NOTHING else None,
        }


PROFILE_VIEW: Final = LatestView(PROFILE, PROFILE_STRINGS, PROFILE_INTEGERS, PROFILE_REALS, PROFILE_TIME, PROFILE_TIMES)
CONTEXT_VIEW: Final = LatestView(CONTEXT, CONTEXT_STRINGS, (), (), CONTEXT_TIME, CONTEXT_TIMES)
LATEST_VIEWS: Final = {view.name: view for view in (PROFILE_VIEW, CONTEXT_VIEW)}


@dataclass(frozen=True)
class Latest:
    """What is known of one user.

    said
        By field: source time, received time and text, "" = removed.
    replaced
        Time of the last whole statement; older ones are void.
    """

    said: Mapping[str, tuple[int, int, str]] = field(default_factory=dict)
    replaced: Time = NEVER

    @property
    def values(self) -> dict[str, str]:
        """The texts that are known."""
        return {name: text for name, (_, _, text) in self.said.items() if text}

    @property
    def source_us(self) -> int:
        """The greatest source time, 0 when nothing was ever said."""
        return max((at[0] for at in self.said.values()), default=0) if self.replaced == NEVER else self._latest[0]

    @property
    def received_us(self) -> int:
        """When the newest of it was received."""
        return max([self.replaced[1], *(at[1] for at in self.said.values())])

    @property
    def _latest(self) -> Time:
        return max([self.replaced, *((at[0], at[1]) for at in self.said.values())])


NOTHING: Final = Latest()


def said(view: LatestView, values: Mapping[str, str], at: Time, *, is_whole: bool = False) -> Latest:
    """One statement; what the view has no field for is left out, a number that is none is no value.

    >>> said(PROFILE_VIEW, {"plan": "pro", "prior_attempts": "2.0", "name": "Ann"}, (5, 6)).said
    {'plan': (5, 6, 'pro'), 'prior_attempts': (5, 6, '2')}
    """
    found = {name: (*at, values[name]) for name in view.texts if name in values}
    for names, read in ((view.integers, whole_number), (view.reals, real_number)):
        for name in names:
            if name in values:
                number = read(values[name])
                found[name] = (*at, "" if number is None else str(number))
    return Latest(found, at if is_whole else NEVER)


def merge(states: Iterable[Latest]) -> Latest:
    """All of them together.

    >>> def at(us, **values): return said(PROFILE_VIEW, values, (us, us))
    >>> merge([at(2, plan="pro"), at(1, plan="free", role="admin")]).values
    {'plan': 'pro', 'role': 'admin'}
    >>> gone = said(PROFILE_VIEW, {}, (3, 3), is_whole=True)
    >>> merge([gone, at(2, plan="pro"), at(4, role="owner")]).values
    {'role': 'owner'}
    """
    found: dict[str, tuple[int, int, str]] = {}
    replaced = NEVER
    for state in states:
        replaced = max(replaced, state.replaced)
        for name, new in state.said.items():
            old = found.get(name)
            if old is None or new > old:
                found[name] = new
    if replaced != NEVER:
        found = {name: at for name, at in found.items() if at[:2] >= replaced}
    return Latest(found, replaced)


def whole_number(text: str | None) -> int | None:
    """A number as 64 bits hold it, cut to a whole one; None when the text says none.

    >>> [whole_number(text) for text in ("17", "2.9", "-1e3", "1e30", "nan", "²", "", None)]
    [17, 2, -1000, None, None, None, None, None]
    """
    try:
        number = int(float(text)) if text else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else None


def real_number(text: str | None) -> float | None:
    """A number as a double holds it; None when the text says none, or an infinite one.

    >>> [real_number(text) for text in ("49.90", "-1e3", "nan", "inf", "²", "", None)]
    [49.9, -1000.0, None, None, None, None, None]
    """
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _pack_times(latest: Latest) -> str:
    """JSON `[[ago_us, delay_us, [name, …]], …]`: how long before the greatest source time it was said, and how long
    after that it was received. The group with the most known fields does not name them: most users have one group.
    """
    known: dict[Time, list[str]] = {}
    named: dict[Time, list[str]] = {} if latest.replaced == NEVER else {latest.replaced: [_EVERYTHING]}
    for name, (source_us, received_us, text) in sorted(latest.said.items()):
        (known if text else named).setdefault((source_us, received_us), []).append(name)
    largest = max(known, key=lambda at: (len(known[at]), at), default=None)
    for at, names in known.items():
        if at != largest:
            named.setdefault(at, []).extend(names)
    groups = [[latest.source_us - at[0], at[1] - at[0], names] for at, names in sorted(named.items())]
    if largest is not None:
        groups.append([latest.source_us - largest[0], largest[1] - largest[0]])
    return orjson.dumps(groups).decode()


def _unpack_times(text: str, latest_us: int, known: Iterable[str]) -> tuple[Time, dict[str, Time]]:
    by_name: dict[str, Time] = {}
    rest: Time | None = None
    for ago_us, delay_us, *names in orjson.loads(text):
        at = (latest_us - ago_us, latest_us - ago_us + delay_us)
        by_name |= dict.fromkeys(names[0], at) if names else {}
        rest = rest if names else at
    replaced = by_name.pop(_EVERYTHING, NEVER)
    return replaced, by_name | ({} if rest is None else {name: rest for name in known if name not in by_name})

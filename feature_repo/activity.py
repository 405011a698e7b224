"""fold() and windows(): what a row is made of and what it says. The stream, the executors, the backfill, training,
serving and the tests all call these two; no other module computes a tile.

    events ──fold──► row (bounded state) ──windows(now)──► features

Both are pure and work on the columns of many users at once.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo import distinct, recent, sessions, tiles
from feature_repo.applied import Source, accept
from feature_repo.packing import Ints
from feature_repo.row import COMPLETE, OPEN, Rows
from feature_repo.tiles import DAYS, LEVELS, MAX_USERS, key_of
from feature_repo.windows import FEATURE_NAMES, windows
from firstmile.errors import DataError
from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS

__all__ = ["FEATURE_NAMES", "Events", "fold", "windows"]

LATENESS_MS = 2 * 3_600_000
"""L: within it, order of arrival does not change a feature."""
MAX_STEP_CHARS = 64
MAX_EVENT_MS = (1 << sessions.TIME_BITS) - 1
"""Year 2248: a user and a time share 63 bits of a sort key."""
MAX_WEIGHT = 1 << 40
"""Of one event: four million of them still add up within 62 bits."""
NOT_COUNTED = -1
"""Family of events that happened around the user, not by them (context, identify): in no tile, no session."""

_OPENS = FAMILIES.index("content_open")
_COMPLETES = FAMILIES.index("content_complete")
_STEP_START, _STEP_DONE, _STEP_SKIP = (FAMILIES.index(f"step_{what}") for what in ("start", "complete", "skip"))
_RECENT = np.full(len(FAMILIES), -1, np.int64)
_RECENT[[FAMILIES.index(kind) for kind in recent.KINDS]] = np.arange(len(recent.KINDS))


@dataclass(frozen=True)
class Events:
    """A batch of events in order of arrival; every array has shape (n_events,).

    source
        User index into the rows, message hash, received_at, topic, partition, offset.
    event_ms
        When it happened, 1 … MAX_EVENT_MS.
    family
        Index into FAMILIES, or NOT_COUNTED.
    weight
        0 … MAX_WEIGHT.
    content, page
        `distinct.content_hash`, 0 = none.
    format
        Index into FORMATS, -1 = none.
    step
        Step name, "" = none; cut to 64 characters.
    onboarding_ms
        Start of the onboarding, where the event says so, else 0.
    target
        `distinct.content_hash` of what was clicked or which field was wrong, 0 = none.
    """

    source: Source
    event_ms: Ints
    family: Ints
    weight: Ints
    content: Ints
    page: Ints
    format: Ints
    step: NDArray[np.object_]
    onboarding_ms: Ints
    target: Ints

    def where(self, index: NDArray[np.bool_] | Ints) -> "Events":
        """The chosen events."""
        source = Source(*(getattr(self.source, f)[index] for f in Source.__dataclass_fields__))
        rest = (getattr(self, f)[index] for f in Events.__dataclass_fields__ if f != "source")
        return Events(source, *rest)


def fold(rows: Rows, events: Events, *, lateness_ms: int = LATENESS_MS) -> tuple[Rows, NDArray[np.bool_]]:
    """Rows after a batch of events, and which rows changed, shape (n_rows,).

    For any order within the lateness bound, any duplication within the id window and any split into batches the
    features of the result are equal. The version of a changed row is the greatest received_at applied, or one µs more
    than it was.

    Raises DataError for events without a valid time, weight, user, family or format.
    """
    _check(rows, events)
    state, ok, moved = accept(rows.applied, events.source)
    changed = np.zeros(rows.n_rows, bool)
    changed[events.source.user[moved]] = True
    version_us = np.where(changed, np.maximum(state.max_received_us, rows.version_us + 1), rows.version_us)
    fresh = events.where(ok)
    after = _mark(replace(rows, applied=state, version_us=version_us), fresh)
    counted = fresh.where(fresh.family != NOT_COUNTED)
    return (_count(after, counted, lateness_ms) if len(counted.event_ms) else after), changed


def _check(rows: Rows, events: Events) -> None:
    if rows.n_rows > MAX_USERS:
        raise DataError(f"{rows.n_rows} users in one fold, at most {MAX_USERS}; split the batch")
    if not len(events.event_ms):
        return
    limits = (
        ("event_ms", events.event_ms, 1, MAX_EVENT_MS),
        ("weight", events.weight, 0, MAX_WEIGHT),
        ("received_us", events.source.received_us, 1, MAX_EVENT_MS * 1_000 + 999),
        ("user", events.source.user, 0, rows.n_rows - 1),
        ("family", events.family, NOT_COUNTED, len(FAMILIES) - 1),
        ("format", events.format, -1, len(FORMATS) - 1),
    )
    for name, values, low, high in limits:
        if values.min() < low or values.max() > high:
            value = int(values[(values < low) | (values > high)][0])
            raise DataError(f"an event with {name} {value}, allowed: {low} to {high}; refuse it before the fold")


def _mark(rows: Rows, events: Events) -> Rows:
    """Start of the onboarding (the earliest said) and current step (the latest by event time, then by name)."""
    onboarding = rows.onboarding_ms.copy()
    says = events.onboarding_ms > 0
    never = np.iinfo(np.int64).max
    onboarding[onboarding == 0] = never
    np.minimum.at(onboarding, events.source.user[says], events.onboarding_ms[says])
    onboarding[onboarding == never] = 0
    steps = _step_names(events.step)
    has_step = np.asarray(steps != "", bool)
    if not has_step.any():
        return replace(rows, onboarding_ms=onboarding)
    names = steps[has_step]
    known = rows.step_ms > 0
    user = np.concatenate((np.flatnonzero(known), events.source.user[has_step]))
    at_ms = np.concatenate((rows.step_ms[known], events.event_ms[has_step]))
    texts = np.concatenate((rows.step[known], names))
    _, rank = np.unique(texts.astype(str), return_inverse=True)
    order = np.lexsort((rank, at_ms, user))
    last = order[np.append(user[order][1:] != user[order][:-1], True)]
    step, step_ms = rows.step.copy(), rows.step_ms.copy()
    step[user[last]], step_ms[user[last]] = texts[last], at_ms[last]
    return replace(rows, onboarding_ms=onboarding, step=step, step_ms=step_ms)


def _step_names(steps: NDArray[np.object_]) -> NDArray[np.object_]:
    """As they are stored and compared: names that differ only in a NUL tie in numpy's order, and a lone surrogate has
    no UTF-8."""
    code, names = pd.factorize(steps)  # many events, few steps
    kept = [n.replace("\0", "")[:MAX_STEP_CHARS].encode(errors="replace").decode() for n in names]
    return np.array(kept, object)[code] if len(kept) else steps


def _count(rows: Rows, events: Events, lateness_ms: int) -> Rows:
    user, event_ms, n = events.source.user, events.event_ms, rows.n_rows
    seen_ms = _greatest_before(rows.last_ms, user, event_ms)
    late = event_ms < seen_ms - lateness_ms
    too_late = event_ms // DAYS.width_ms <= seen_ms // DAYS.width_ms - DAYS.kept
    last_ms = rows.last_ms.copy()
    np.maximum.at(last_ms, user, event_ms)
    first_ms = np.where(rows.first_ms == 0, np.iinfo(np.int64).max, rows.first_ms)
    np.minimum.at(first_ms, user, event_ms)
    has_format = (events.format >= 0) & np.isin(events.family, (_OPENS, _COMPLETES))
    kind = np.where(events.family == _OPENS, OPEN, COMPLETE)[has_format]
    return replace(
        rows,
        first_ms=np.where(first_ms == np.iinfo(np.int64).max, 0, first_ms),
        last_ms=last_ms,
        n_late=rows.n_late + np.bincount(user[late], minlength=n),
        n_too_late=rows.n_too_late + np.bincount(user[too_late], minlength=n),
        levels=tuple(
            tiles.evict(
                tiles.add(kept, key_of(user, events.family, event_ms // level.width_ms), events.weight), level, last_ms
            )
            for level, kept in zip(LEVELS, rows.levels, strict=True)
        ),
        life=tiles.add(rows.life, key_of(user, events.family, np.zeros_like(user)), events.weight),
        formats=tiles.add(
            rows.formats, key_of(user[has_format], events.format[has_format], kind), events.weight[has_format]
        ),
        sessions=sessions.add(rows.sessions, user, event_ms, last_ms=last_ms, lateness_ms=lateness_ms),
        recent=_recent(rows, events, last_ms),
        **_steps(rows, events),
        contents=distinct.add(rows.contents, user, events.content, n_rows=n),
        pages=distinct.add(rows.pages, user, events.page, n_rows=n),
    )


def _recent(rows: Rows, events: Events, last_ms: Ints) -> recent.Recent:
    kind = _RECENT[events.family]
    of = np.flatnonzero(kind >= 0)
    added = recent.Recent(events.source.user[of], kind[of], events.event_ms[of], events.target[of])
    return recent.add(rows.recent, added, last_ms)


def _steps(rows: Rows, events: Events) -> dict[str, Any]:
    """Which steps are done and skipped, and when one was last begun and ended."""
    if not np.isin(events.family, (_STEP_START, _STEP_DONE, _STEP_SKIP)).any():
        return {}
    out: dict[str, Any] = {"step_start_ms": rows.step_start_ms.copy(), "step_end_ms": rows.step_end_ms.copy()}
    for family, field in ((_STEP_START, "step_start_ms"), (_STEP_DONE, "step_end_ms"), (_STEP_SKIP, "step_end_ms")):
        of = events.family == family
        np.maximum.at(out[field], events.source.user[of], events.event_ms[of])
    for family, field in ((_STEP_DONE, "steps_done"), (_STEP_SKIP, "steps_skipped")):
        of = events.family == family
        hashes = distinct.content_hash(_step_names(events.step[of]))
        out[field] = distinct.add(getattr(rows, field), events.source.user[of], hashes, n_rows=rows.n_rows)
    return out


def _greatest_before(last_ms: Ints, user: Ints, event_ms: Ints) -> Ints:
    """Greatest event time each event found on arrival: of its row and of the events before it in the batch."""
    order = np.argsort(user, kind="stable")
    users, times = user[order], np.maximum(event_ms, last_ms[user])[order]
    reach = np.maximum.accumulate((users << sessions.TIME_BITS) | times) & ((1 << sessions.TIME_BITS) - 1)
    before = last_ms[users]
    same = users[1:] == users[:-1]
    before[1:][same] = reach[:-1][same]
    out = np.empty_like(before)
    out[order] = before
    return out

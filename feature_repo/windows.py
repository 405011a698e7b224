"""What a row says at an instant: tiles composed into windows, so that counts decay when a user stops.

A window of width W made of tiles of width w holds every tile that starts after `now - W - w` and at or before `now`: it
counts up to one tile width more than W, never less (24 h: at most 25 h; 7 d: at most 8 d).

The features' names and what each is stand here; the loops over tiles are in window_loops.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from feature_repo import distinct, recent
from feature_repo.packing import Ints
from feature_repo.row import COMPLETE, OPEN, SETS, Rows
from feature_repo.sessions import GAP_MS
from feature_repo.tiles import (
    DAY_MS,
    DAYS,
    HOUR_MS,
    HOURS,
    LEVELS,
    MINUTE_MS,
    MINUTES,
    N_FAMILIES,
    TILE_BITS,
    TILE_MASK,
    USER_SHIFT,
    Level,
    Tiles,
)
from feature_repo.window_loops import (
    Floats,
    add_formats,
    add_pairs,
    add_rates,
    add_sums,
    add_times,
    add_windows,
    inside,
)
from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS


@dataclass(frozen=True)
class Window:
    """A span back from now, and the tiles it is made of."""

    name: str
    width_ms: int
    level: Level


WINDOWS = (
    Window("1m", MINUTE_MS, MINUTES),
    Window("5m", 5 * MINUTE_MS, MINUTES),
    Window("30m", 30 * MINUTE_MS, MINUTES),
    Window("1h", HOUR_MS, MINUTES),
    Window("24h", 24 * HOUR_MS, HOURS),
    Window("7d", 7 * DAY_MS, DAYS),
    Window("30d", 30 * DAY_MS, DAYS),
)
CLICKS = ("page_view", "content_open")
ERRORS = ("form_error", "error")
PAUSE_MINUTES = 2
"""A hesitation: so many or more whole minutes without an event, and fewer than the 30 that end a session."""
ACTIVE = {"1h": "minute", "24h": "hour", "7d": "day", "30d": "day"}
"""Windows whose active tiles are counted."""
RATED = ("1h", "24h", "7d", "total")


def windows(rows: Rows, now_us: Ints) -> dict[str, Floats]:
    """Every readable feature by name (FEATURE_NAMES), each of shape (n_rows,); NaN = not known.

    now_us
        Shape (n_rows,): the instant asked about, µs since epoch UTC.
    """
    return dict(zip(FEATURE_NAMES, window_table(rows, now_us), strict=True))


def window_table(rows: Rows, now_us: Ints) -> Floats:
    """`windows` as one array, shape (n_features, n_rows), in the order of FEATURE_NAMES."""
    now_ms = now_us // 1_000
    out = np.zeros((len(FEATURE_NAMES), rows.n_rows))
    for level, kept in zip(LEVELS, rows.levels, strict=True):
        add_windows(out, _plan(level), *_columns(kept), now_ms, level.width_ms, TILE_BITS, USER_SHIFT, *_COUNTING)
    totals = _of(out, _sum_names("total"))
    add_sums(totals, *_columns(rows.life), np.ones(len(rows.life.key), bool), TILE_BITS, USER_SHIFT)
    add_rates(out, _rates())
    _friction(out, rows, now_ms)
    add_pairs(out, _clicks())
    for tile, names in _FORMAT_NAMES.items():
        add_formats(_of(out, names), rows.formats.key, rows.formats.count, tile, TILE_BITS, USER_SHIFT, TILE_MASK)
    for name in SETS:
        out[AT[f"n_{name}"]] = distinct.count(getattr(rows, name), rows.n_rows)
    _times(out, rows, now_ms)
    return out


def _columns(tiles: Tiles) -> tuple[Ints, Ints, Ints]:
    return tiles.key, tiles.count, tiles.weight


_COUNTING = N_FAMILIES, PAUSE_MINUTES, GAP_MS // MINUTE_MS


@cache
def _plan(level: Level) -> Ints:
    """The windows of a level, as `add_windows` takes them."""
    return np.array(
        [
            (
                window.width_ms,
                AT[_sum_names(window.name)[0]],
                AT[_pace_names(window.name)[0]] if window.name in ACTIVE else -1,
                AT[_hesitation_names(window.name)[0]] if window.name in ACTIVE and level is MINUTES else -1,
            )
            for window in WINDOWS
            if window.level is level
        ],
        np.int64,
    )


@cache
def _rates() -> Ints:
    first, second = ERRORS
    names = [(f"error_rate_{w}", f"{first}_{w}_count", f"{second}_{w}_count", f"events_{w}_count") for w in RATED]
    return np.array([[AT[name] for name in row] for row in names], np.int64)


@cache
def _clicks() -> Ints:
    names = [(f"clicks_total_{kind}", *(f"{family}_total_{kind}" for family in CLICKS)) for kind in ("count", "weight")]
    return np.array([[AT[name] for name in row] for row in names], np.int64)


@cache
def _sum_names(window: str) -> tuple[str, ...]:
    counts, weights = (tuple(f"{family}_{window}_{kind}" for family in FAMILIES) for kind in ("count", "weight"))
    return (*counts, f"events_{window}_count", *weights)


@cache
def _pace_names(window: str) -> tuple[str, ...]:
    return f"active_{ACTIVE[window]}s_{window}", f"events_per_active_{ACTIVE[window]}_{window}"


@cache
def _hesitation_names(window: str) -> tuple[str, ...]:
    return f"hesitations_{window}", f"hesitation_minutes_{window}"


_FORMAT_NAMES = {
    kind: tuple(f"{name}_{f}" for f in FORMATS) for kind, name in ((OPEN, "opens"), (COMPLETE, "completes"))
}


def _feature_names() -> Iterator[str]:
    for window in WINDOWS:
        yield from _sum_names(window.name)
        if window.name in ACTIVE:
            yield from _pace_names(window.name)
            if window.level is MINUTES:
                yield from _hesitation_names(window.name)
    yield from _sum_names("total")
    yield from (f"error_rate_{name}" for name in RATED)
    yield from ("rage_clicks_1h", "errors_on_one_field_1h")
    yield from ("clicks_total_count", "clicks_total_weight")
    for names in _FORMAT_NAMES.values():
        yield from names
    yield from (f"n_{name}" for name in SETS)
    yield from _TIMES


_TIMES = (
    "n_sessions",
    "session_s",
    "seconds_since_last_event",
    "days_since_last_event",
    "days_since_first_event",
    "step_s",
    "onboarding_age_days",
)
FEATURE_NAMES = tuple(_feature_names())
"""All features of `windows`, in its order. A new one is named here and computed in `window_table`."""
AT = {name: at for at, name in enumerate(FEATURE_NAMES)}
"""Where each stands in it."""


def _of(out: Floats, names: tuple[str, ...]) -> Floats:
    """The part of a table that holds names which stand together."""
    first = AT[names[0]]
    return out[first : first + len(names)]


def _friction(out: Floats, rows: Rows, now_ms: Ints) -> None:
    if not len(rows.recent.user):
        return
    hour = next(window for window in WINDOWS if window.name == "1h")
    user, minute = rows.recent.user, rows.recent.at_ms // MINUTE_MS
    of_minute = (user << USER_SHIFT) | minute
    newest = rows.recent.where(inside(of_minute, now_ms, hour.width_ms, MINUTE_MS, USER_SHIFT, TILE_MASK))
    out[AT["rage_clicks_1h"]] = recent.rage_clicks(newest, rows.n_rows)
    out[AT["errors_on_one_field_1h"]] = recent.errors_on_one_field(newest, rows.n_rows)


def _times(out: Floats, rows: Rows, now_ms: Ints) -> None:
    sessions = rows.sessions
    add_times(
        _of(out, _TIMES),
        now_ms,
        rows.first_ms,
        rows.last_ms,
        rows.onboarding_ms,
        rows.step_start_ms,
        rows.step_end_ms,
        sessions.user,
        sessions.start_ms,
        sessions.end_ms,
        sessions.n_dropped,
        GAP_MS,
        DAY_MS,
    )

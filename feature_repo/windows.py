"""What a row says at an instant: tiles composed into windows, so that counts decay when a user stops.

A window of width W made of tiles of width w holds every tile that starts after `now - W - w` and at or before `now`: it
counts up to one tile width more than W, never less (24 h: at most 25 h; 7 d: at most 8 d).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

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
)
from firstmile.compiled import compiled
from firstmile.names import FAMILIES, FORMATS

Floats = NDArray[np.float64]


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
    for window in WINDOWS:
        kept = rows.levels[LEVELS.index(window.level)]
        is_inside = _inside(kept.key, now_ms, window.width_ms, window.level.width_ms, USER_SHIFT, TILE_MASK)
        sums = _of(out, _sum_names(window.name))
        _add_sums(sums, kept.key, kept.count, kept.weight, is_inside, TILE_BITS, USER_SHIFT)
        if window.name in ACTIVE:
            active = _active(is_inside, kept.key, now_ms, window.level.width_ms, USER_SHIFT, TILE_MASK)
            _add_pace(_of(out, _pace_names(window.name)), active, sums[N_FAMILIES])
            if window.level is MINUTES:
                _add_hesitation(_of(out, _hesitation_names(window.name)), active, PAUSE_MINUTES, GAP_MS // MINUTE_MS)
    life, formats = rows.life, rows.formats
    _add_sums(
        _of(out, _sum_names("total")),
        life.key,
        life.count,
        life.weight,
        np.ones(len(life.key), bool),
        TILE_BITS,
        USER_SHIFT,
    )
    for name in RATED:
        errors = out[_places(ERRORS, f"{name}_count")].sum(axis=0)
        _divide(out[AT[f"error_rate_{name}"]], errors, out[AT[f"events_{name}_count"]])
    _friction(out, rows, now_ms)
    for kind in ("count", "weight"):
        out[AT[f"clicks_total_{kind}"]] = out[_places(CLICKS, f"total_{kind}")].sum(axis=0)
    for tile, names in _FORMAT_NAMES.items():
        _add_formats(_of(out, names), formats.key, formats.count, tile, TILE_BITS, USER_SHIFT, TILE_MASK)
    for name in SETS:
        out[AT[f"n_{name}"]] = distinct.count(getattr(rows, name), rows.n_rows)
    _times(out, rows, now_ms)
    return out


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
"""All features of `windows`, in its order."""
AT = {name: at for at, name in enumerate(FEATURE_NAMES)}
"""Where each stands in it."""


@cache
def _places(families: tuple[str, ...], what: str) -> Ints:
    return np.array([AT[f"{family}_{what}"] for family in families], np.int64)


def _of(out: Floats, names: tuple[str, ...]) -> Floats:
    """The part of a table that holds names which stand together."""
    first = AT[names[0]]
    return out[first : first + len(names)]


@compiled
def _inside(key: Ints, now_ms: Ints, width_ms: int, tile_ms: int, user_shift: int, tile_mask: int) -> NDArray[np.bool_]:
    """Which tiles a window holds."""
    is_inside = np.empty(len(key), np.bool_)
    for i in range(len(key)):
        now, start = now_ms[key[i] >> user_shift], (key[i] & tile_mask) * tile_ms
        is_inside[i] = now - width_ms - tile_ms < start <= now
    return is_inside


@compiled
def _add_sums(
    out: Floats,
    key: Ints,
    count: Ints,
    weight: Ints,
    is_chosen: NDArray[np.bool_],
    tile_bits: int,
    user_shift: int,
) -> None:
    """Per family the counts, then the counts of all, then per family the weights, of the chosen tiles."""
    n_families = len(out) // 2
    for i in range(len(key)):
        if is_chosen[i]:
            user = key[i] >> user_shift
            family = (key[i] >> tile_bits) & ((1 << (user_shift - tile_bits)) - 1)
            out[family, user] += count[i]
            out[n_families, user] += count[i]
            out[n_families + 1 + family, user] += weight[i]


@compiled
def _active(
    is_chosen: NDArray[np.bool_], key: Ints, now_ms: Ints, tile_ms: int, user_shift: int, tile_mask: int
) -> NDArray[np.uint64]:
    """Tiles with an event as bits, shape (n_rows,): bit 0 is the tile of now, bit 1 the one before. No window has
    more than 61 tiles."""
    bits = np.zeros(len(now_ms), np.uint64)
    for i in range(len(key)):
        if is_chosen[i]:
            user = key[i] >> user_shift
            age = now_ms[user] // tile_ms - (key[i] & tile_mask)
            bits[user] |= np.uint64(1) << np.uint64(age)
    return bits


@compiled
def _add_pace(out: Floats, active: NDArray[np.uint64], events: Floats) -> None:
    """Tiles with an event, and events per such tile (NaN without one)."""
    for user in range(len(active)):
        bits, n = active[user], 0
        while bits:
            bits &= bits - np.uint64(1)
            n += 1
        out[0, user] = n
        out[1, user] = events[user] / n if n else np.nan


@compiled
def _add_hesitation(out: Floats, active: NDArray[np.uint64], least: int, end: int) -> None:
    """How many pauses between active minutes, and their silent minutes: `least` to `end` - 1 a pause."""
    for user in range(len(active)):
        silent = -1  # before the first active minute nothing is a pause
        for age in range(64):
            if (active[user] >> np.uint64(age)) & np.uint64(1):
                if least <= silent < end:
                    out[0, user] += 1
                    out[1, user] += silent
                silent = 0
            elif silent >= 0:
                silent += 1


def _friction(out: Floats, rows: Rows, now_ms: Ints) -> None:
    if not len(rows.recent.user):
        return
    hour = next(window for window in WINDOWS if window.name == "1h")
    user, minute = rows.recent.user, rows.recent.at_ms // MINUTE_MS
    of_minute = (user << USER_SHIFT) | minute
    newest = rows.recent.where(_inside(of_minute, now_ms, hour.width_ms, MINUTE_MS, USER_SHIFT, TILE_MASK))
    out[AT["rage_clicks_1h"]] = recent.rage_clicks(newest, rows.n_rows)
    out[AT["errors_on_one_field_1h"]] = recent.errors_on_one_field(newest, rows.n_rows)


def _divide(out: Floats, part: Floats, whole: Floats) -> None:
    """Share of the whole, NaN of nothing."""
    out[:] = np.nan
    np.divide(part, whole, out=out, where=whole > 0)


@compiled
def _add_formats(
    out: Floats, key: Ints, count: Ints, tile: int, tile_bits: int, user_shift: int, tile_mask: int
) -> None:
    """Counts per format of one tile number: OPEN or COMPLETE."""
    for i in range(len(key)):
        if key[i] & tile_mask == tile:
            content_format = (key[i] >> tile_bits) & ((1 << (user_shift - tile_bits)) - 1)
            if content_format < len(out):
                out[content_format, key[i] >> user_shift] += count[i]


def _times(out: Floats, rows: Rows, now_ms: Ints) -> None:
    sessions = rows.sessions
    _add_times(
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


@compiled
def _add_times(
    out: Floats,
    now_ms: Ints,
    first_ms: Ints,
    last_ms: Ints,
    onboarding_ms: Ints,
    step_start_ms: Ints,
    step_end_ms: Ints,
    session_user: Ints,
    session_start_ms: Ints,
    session_end_ms: Ints,
    n_dropped: Ints,
    gap_ms: int,
    day_ms: int,
) -> None:
    """_TIMES in their order."""
    for user in range(len(now_ms)):
        now = now_ms[user]
        out[0, user] = n_dropped[user]
        if last_ms[user] > 0:
            out[2, user] = (now - last_ms[user]) / 1_000
            # Whole UTC days: a model that must not see the time of day can use them.
            out[3, user] = now // day_ms - last_ms[user] // day_ms
            out[4, user] = now // day_ms - first_ms[user] // day_ms
        else:
            out[2:5, user] = np.nan
        if step_start_ms[user] <= 0:
            out[5, user] = np.nan
        elif step_start_ms[user] > step_end_ms[user]:
            out[5, user] = max(now - step_start_ms[user], 0) / 1_000
        began = onboarding_ms[user] if onboarding_ms[user] > 0 else first_ms[user]
        out[6, user] = (now - began) / day_ms if began > 0 else np.nan
    for i in range(len(session_user)):
        user = session_user[i]
        out[0, user] += 1
        is_newest = i + 1 == len(session_user) or session_user[i + 1] != user
        if is_newest and now_ms[user] - session_end_ms[i] <= gap_ms:
            out[1, user] = max(now_ms[user] - session_start_ms[i], 0) / 1_000

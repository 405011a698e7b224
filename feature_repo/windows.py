"""What a row says at an instant: tiles composed into windows, so that counts decay when a user stops.

A window of width W made of tiles of width w holds every tile that starts after `now - W - w` and at or before `now`: it
counts up to one tile width more than W, never less (24 h: at most 25 h; 7 d: at most 8 d).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo import distinct, recent
from feature_repo.packing import Ints
from feature_repo.row import COMPLETE, OPEN, SETS, Rows, empty_rows
from feature_repo.sessions import GAP_MS
from feature_repo.tiles import DAY_MS, DAYS, HOUR_MS, HOURS, LEVELS, MINUTE_MS, MINUTES, N_FAMILIES, Level, Tiles
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
    n = rows.n_rows
    now_ms = now_us // 1_000
    out: dict[str, Floats] = {}
    for window in WINDOWS:
        level_tiles = rows.levels[LEVELS.index(window.level)]
        chosen = level_tiles.where(_inside(window, now_ms[level_tiles.user], level_tiles.tile))
        _sums(out, chosen, n, window.name)
        if window.name in ACTIVE:
            active = np.unique((chosen.user << 32) | chosen.tile)
            _pace(out, active >> 32, window.name, n)
            if window.level is MINUTES:
                _hesitation(out, active >> 32, active & 0xFFFFFFFF, window.name, n)
    _sums(out, rows.life, n, "total")
    _error_rates(out)
    _friction(out, rows, now_ms)
    for kind in ("count", "weight"):
        out[f"clicks_total_{kind}"] = sum((out[f"{f}_total_{kind}"] for f in CLICKS), np.zeros(n))
    _formats(out, rows)
    for name in SETS:
        out[f"n_{name}"] = distinct.count(getattr(rows, name), n)
    _times(out, rows, now_ms)
    return out


def _inside(window: Window, now_ms: Ints, tile: Ints) -> NDArray[np.bool_]:
    start_ms = tile * window.level.width_ms
    return np.asarray((start_ms > now_ms - window.width_ms - window.level.width_ms) & (start_ms <= now_ms), bool)


def _sums(out: dict[str, Floats], chosen: Tiles, n: int, name: str) -> None:
    index = chosen.user * N_FAMILIES + chosen.family
    for kind, values in (("count", chosen.count), ("weight", chosen.weight)):
        table: Floats = np.asarray(np.bincount(index, weights=values, minlength=n * N_FAMILIES), np.float64)
        table = table.reshape(n, N_FAMILIES)
        for code, family in enumerate(FAMILIES):
            out[f"{family}_{name}_{kind}"] = table[:, code]
        if kind == "count":
            out[f"events_{name}_count"] = table.sum(axis=1)


def _pace(out: dict[str, Floats], user: Ints, name: str, n: int) -> None:
    """Tiles with an event, and events per such tile (NaN without one); `user` has an entry per active tile."""
    unit = ACTIVE[name]
    n_active = np.bincount(user, minlength=n).astype(np.float64)
    out[f"active_{unit}s_{name}"] = n_active
    out[f"events_per_active_{unit}_{name}"] = _ratio(out[f"events_{name}_count"], n_active)


def _hesitation(out: dict[str, Floats], user: Ints, minute: Ints, name: str, n: int) -> None:
    """How many pauses, and their silent minutes; `user`, `minute`: a sorted pair per active minute."""
    silent = np.diff(minute) - 1
    is_pause = (np.diff(user) == 0) & (silent >= PAUSE_MINUTES) & (silent < GAP_MS // MINUTE_MS)
    of = user[1:][is_pause]
    out[f"hesitations_{name}"] = np.bincount(of, minlength=n).astype(np.float64)
    out[f"hesitation_minutes_{name}"] = np.bincount(of, weights=silent[is_pause], minlength=n).astype(np.float64)


def _error_rates(out: dict[str, Floats]) -> None:
    """Share of the events that were errors, NaN without an event."""
    for name in RATED:
        errors = sum((out[f"{family}_{name}_count"] for family in ERRORS), np.zeros(1))
        out[f"error_rate_{name}"] = _ratio(errors, out[f"events_{name}_count"])


def _friction(out: dict[str, Floats], rows: Rows, now_ms: Ints) -> None:
    hour = next(window for window in WINDOWS if window.name == "1h")
    newest = rows.recent.where(_inside(hour, now_ms[rows.recent.user], rows.recent.at_ms // MINUTE_MS))
    out["rage_clicks_1h"] = recent.rage_clicks(newest, rows.n_rows)
    out["errors_on_one_field_1h"] = recent.errors_on_one_field(newest, rows.n_rows)


def _ratio(part: Floats, whole: Floats) -> Floats:
    out: Floats = np.full(len(whole), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _formats(out: dict[str, Floats], rows: Rows) -> None:
    for kind, name in ((OPEN, "opens"), (COMPLETE, "completes")):
        chosen = rows.formats.where(rows.formats.tile == kind)
        index = chosen.user * len(FORMATS) + chosen.family
        sums = np.bincount(index, weights=chosen.count, minlength=rows.n_rows * len(FORMATS))
        table: Floats = np.asarray(sums, np.float64).reshape(rows.n_rows, len(FORMATS))
        for code, content_format in enumerate(FORMATS):
            out[f"{name}_{content_format}"] = table[:, code]


def _times(out: dict[str, Floats], rows: Rows, now_ms: Ints) -> None:
    n = rows.n_rows
    seen = rows.last_ms > 0
    out["n_sessions"] = (rows.sessions.n_dropped + np.bincount(rows.sessions.user, minlength=n)).astype(np.float64)
    session_s = np.zeros(n)
    newest = np.flatnonzero(
        np.append(rows.sessions.user[1:] != rows.sessions.user[:-1], True)[: len(rows.sessions.user)]
    )
    user = rows.sessions.user[newest]
    is_open = now_ms[user] - rows.sessions.end_ms[newest] <= GAP_MS
    length_ms = np.maximum(now_ms[user] - rows.sessions.start_ms[newest], 0)
    session_s[user[is_open]] = length_ms[is_open] / 1_000
    out["session_s"] = session_s
    out["seconds_since_last_event"] = np.where(seen, (now_ms - rows.last_ms) / 1_000, np.nan)
    # Whole UTC days: a model that must not see the time of day can use them.
    out["days_since_last_event"] = np.where(seen, now_ms // DAY_MS - rows.last_ms // DAY_MS, np.nan)
    out["days_since_first_event"] = np.where(seen, now_ms // DAY_MS - rows.first_ms // DAY_MS, np.nan)
    on_step = rows.step_start_ms > rows.step_end_ms
    step_s = np.where(on_step, np.maximum(now_ms - rows.step_start_ms, 0) / 1_000, 0.0)
    out["step_s"] = np.where(rows.step_start_ms > 0, step_s, np.nan)
    began = np.where(rows.onboarding_ms > 0, rows.onboarding_ms, rows.first_ms)
    out["onboarding_age_days"] = np.where(began > 0, (now_ms - began) / DAY_MS, np.nan)


FEATURE_NAMES = tuple(windows(empty_rows(1), np.zeros(1, np.int64)))
"""All features of `windows`, in its order."""

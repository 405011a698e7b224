"""What a row says at an instant: tiles composed into windows, so that counts decay when a user stops.

A window of width W made of tiles of width w holds every tile that starts after `now - W - w` and at or before `now`: it
counts up to one tile width more than W, never less (24 h: at most 25 h; 7 d: at most 8 d).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo import distinct
from feature_repo.packing import Ints
from feature_repo.row import COMPLETE, OPEN, Rows, empty_rows
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
        start_ms = level_tiles.tile * window.level.width_ms
        now = now_ms[level_tiles.user]
        inside = (start_ms > now - window.width_ms - window.level.width_ms) & (start_ms <= now)
        chosen = level_tiles.where(inside)
        _sums(out, chosen, n, window.name)
        if window.level is DAYS:
            days = np.unique((chosen.user << 32) | chosen.tile) >> 32
            out[f"active_days_{window.name}"] = np.bincount(days, minlength=n).astype(np.float64)
    _sums(out, rows.life, n, "total")
    for kind in ("count", "weight"):
        out[f"clicks_total_{kind}"] = sum((out[f"{f}_total_{kind}"] for f in CLICKS), np.zeros(n))
    _formats(out, rows)
    out["n_contents"] = distinct.count(rows.contents, n)
    out["n_pages"] = distinct.count(rows.pages, n)
    _times(out, rows, now_ms)
    return out


def _sums(out: dict[str, Floats], chosen: Tiles, n: int, name: str) -> None:
    index = chosen.user * N_FAMILIES + chosen.family
    for kind, values in (("count", chosen.count), ("weight", chosen.weight)):
        table: Floats = np.asarray(np.bincount(index, weights=values, minlength=n * N_FAMILIES), np.float64)
        table = table.reshape(n, N_FAMILIES)
        for code, family in enumerate(FAMILIES):
            out[f"{family}_{name}_{kind}"] = table[:, code]
        if kind == "count":
            out[f"events_{name}_count"] = table.sum(axis=1)


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
    began = np.where(rows.onboarding_ms > 0, rows.onboarding_ms, rows.first_ms)
    out["onboarding_age_days"] = np.where(began > 0, (now_ms - began) / DAY_MS, np.nan)


FEATURE_NAMES = tuple(windows(empty_rows(1), np.zeros(1, np.int64)))
"""All features of `windows`, in its order."""

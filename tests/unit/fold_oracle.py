"""What fold() and windows() must say, from raw events by loops and dictionaries, sharing no code with them.

For one user; every event is taken as counted once. The rule for a window is the design's: every tile that starts after
`now - W - one tile width` and at or before now, among the tiles kept (61 minutes, 49 hours, 31 days back from the
greatest event time).
"""

import math
from collections.abc import Sequence

from events_builder import Event

from firstmile.names import FAMILIES, FORMATS

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WINDOWS = {  # width, width of the tiles, tiles kept
    "1m": (MINUTE, MINUTE, 61),
    "5m": (5 * MINUTE, MINUTE, 61),
    "30m": (30 * MINUTE, MINUTE, 61),
    "1h": (HOUR, MINUTE, 61),
    "24h": (24 * HOUR, HOUR, 49),
    "7d": (7 * DAY, DAY, 31),
    "30d": (30 * DAY, DAY, 31),
}
SESSION_GAP = 30 * MINUTE


def oracle(events: Sequence[Event], now_ms: int) -> dict[str, float]:
    """Every feature by name, for one user's events in any order."""
    counted = [e for e in events if e.family is not None]
    last = max((e.at_ms for e in counted), default=0)
    out: dict[str, float] = {}
    for name, (width, tile, kept) in WINDOWS.items():
        inside = []
        for e in counted:
            start = e.at_ms - e.at_ms % tile
            is_kept = start // tile > last // tile - kept
            if is_kept and now_ms - width - tile < start <= now_ms:
                inside.append(e)
        out |= _sums(inside, name)
        if tile == DAY:
            out[f"active_days_{name}"] = len({e.at_ms // DAY for e in inside})
    out |= _sums(counted, "total")
    for kind in ("count", "weight"):
        out[f"clicks_total_{kind}"] = out[f"page_view_total_{kind}"] + out[f"content_open_total_{kind}"]
    for family, name in (("content_open", "opens"), ("content_complete", "completes")):
        for content_format in FORMATS:
            out[f"{name}_{content_format}"] = sum(e.family == family and e.format == content_format for e in counted)
    out["n_contents"] = len({e.content for e in counted} - {""})
    out["n_pages"] = len({e.page for e in counted} - {""})
    return out | _times(events, counted, now_ms)


def sessions(times: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of the spans without a gap of more than 30 minutes."""
    found: list[tuple[int, int]] = []
    for at_ms in sorted(times):
        if found and at_ms - found[-1][1] <= SESSION_GAP:
            found[-1] = (found[-1][0], at_ms)
        else:
            found.append((at_ms, at_ms))
    return found


def _sums(events: Sequence[Event], name: str) -> dict[str, float]:
    out: dict[str, float] = {f"events_{name}_count": len(events)}
    for family in FAMILIES:
        weights = [e.weight for e in events if e.family == family]
        out[f"{family}_{name}_count"] = len(weights)
        out[f"{family}_{name}_weight"] = sum(weights)
    return out


def _times(events: Sequence[Event], counted: Sequence[Event], now_ms: int) -> dict[str, float]:
    times = [e.at_ms for e in counted]
    spans = sessions(times)
    out = dict.fromkeys(
        ("seconds_since_last_event", "days_since_last_event", "days_since_first_event", "onboarding_age_days"), math.nan
    )
    out |= {"n_sessions": len(spans), "session_s": 0}
    if spans and now_ms - spans[-1][1] <= SESSION_GAP:
        out["session_s"] = max(now_ms - spans[-1][0], 0) / 1000
    if times:
        out["seconds_since_last_event"] = (now_ms - max(times)) / 1000
        out["days_since_last_event"] = now_ms // DAY - max(times) // DAY  # whole UTC days
        out["days_since_first_event"] = now_ms // DAY - min(times) // DAY
    began = min((e.onboarding_ms for e in events if e.onboarding_ms), default=min(times, default=0))
    if began:
        out["onboarding_age_days"] = (now_ms - began) / DAY
    return out

"""What fold() and windows() must say, from raw events by loops and dictionaries, sharing no code with them.

For one user; every event is taken as counted once. The rule for a window is the design's: every tile that starts after
`now - W - one tile width` and at or before now, among the tiles kept (61 minutes, 49 hours, 31 days back from the
greatest event time).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from events_builder import Event

from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS

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
ACTIVE = {"1h": ("minute", MINUTE), "24h": ("hour", HOUR), "7d": ("day", DAY), "30d": ("day", DAY)}
NEWEST = 64


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
        if name in ACTIVE:
            unit, span = ACTIVE[name]
            active = len({e.at_ms // span for e in inside})
            out[f"active_{unit}s_{name}"] = active
            out[f"events_per_active_{unit}_{name}"] = len(inside) / active if active else math.nan
        if name in ("1h", "24h", "7d"):
            out[f"error_rate_{name}"] = _error_rate(inside)
        if name == "1h":
            out |= _friction(inside, [e for e in counted if e.at_ms // MINUTE > last // MINUTE - 61])
    out |= _sums(counted, "total")
    out["error_rate_total"] = _error_rate(counted)
    out |= _steps(counted, now_ms)
    for kind in ("count", "weight"):
        out[f"clicks_total_{kind}"] = out[f"page_view_total_{kind}"] + out[f"content_open_total_{kind}"]
    for family, name in (("content_open", "opens"), ("content_complete", "completes")):
        for content_format in FORMATS:
            out[f"{name}_{content_format}"] = sum(e.family == family and e.format == content_format for e in counted)
    out["n_contents"] = len({e.content for e in counted} - {""})
    out["n_pages"] = len({e.page for e in counted} - {""})
    return out | _times(events, counted, now_ms)


def _error_rate(events: Sequence[Event]) -> float:
    wrong = [e for e in events if e.family in ("form_error", "error")]
    return len(wrong) / len(events) if events else math.nan


def _friction(hour: Sequence[Event], kept: Sequence[Event]) -> dict[str, float]:
    """Of the events of the last hour; clicks and form errors among the newest 64 kept of each alone."""
    minutes = sorted({e.at_ms // MINUTE for e in hour})
    pauses = [b - a - 1 for a, b in pairwise(minutes) if 2 <= b - a - 1 < 30]
    clicks, errors = (_newest(kept, family) for family in ("click", "form_error"))
    clicks, errors = [e for e in clicks if e in hour], [e for e in errors if e in hour]
    rage = 0
    for name in {e.target for e in clicks}:
        times = sorted(e.at_ms for e in clicks if e.target == name)
        rage += sum(times[i] - times[i - 2] <= 2_000 for i in range(2, len(times)))
    fields = [e.target for e in errors]
    return {
        "hesitations_1h": len(pauses),
        "hesitation_minutes_1h": sum(pauses),
        "rage_clicks_1h": rage,
        "errors_on_one_field_1h": max((fields.count(name) for name in fields), default=0),
    }


def _newest(events: Sequence[Event], family: str) -> list[Event]:
    of = [e for e in events if e.family == family and e.target]
    return sorted(of, key=lambda e: e.at_ms)[-NEWEST:]


def _steps(counted: Sequence[Event], now_ms: int) -> dict[str, float]:
    begun = max((e.at_ms for e in counted if e.family == "step_start"), default=0)
    ended = max((e.at_ms for e in counted if e.family in ("step_complete", "step_skip")), default=0)
    on_step_s = max(now_ms - begun, 0) / 1000 if begun > ended else 0.0
    return {
        "n_steps_done": len({e.step[:64] for e in counted if e.family == "step_complete"} - {""}),
        "n_steps_skipped": len({e.step[:64] for e in counted if e.family == "step_skip"} - {""}),
        "step_s": on_step_s if begun else math.nan,
    }


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

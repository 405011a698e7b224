"""windows() against the brute-force oracle, at tile edges, long after, and where a user has stopped."""

import math

import numpy as np
import pytest
from events_builder import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    Event,
    arrivals,
    examples,
    fold_batches,
    fold_one,
    histories,
    splits,
    with_ids,
)
from fold_oracle import WINDOWS, oracle
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.activity import FEATURE_NAMES, windows
from feature_repo.row import Rows, empty_rows

# Distances from an event or an edge where some window begins or ends, and those beside them.
AWAY_MS = sorted(
    {
        0,
        *(sign * (span + off) for span, _, _ in WINDOWS.values() for off in (-1, 0, 1) for sign in (1, -1)),
        *(span + tile + off for span, tile, _ in WINDOWS.values() for off in (-1, 0, 1)),
        30 * MINUTE + 1,
        59 * DAY,
        20_000 * DAY,
    }
)


def say(rows: Rows, now_ms: int, row: int = 0) -> dict[str, float]:
    """Features of one row at an instant, the last microsecond of its millisecond."""
    found = windows(rows, np.full(rows.n_rows, now_ms * 1_000 + 999, np.int64))
    return {name: float(values[row]) for name, values in found.items()}


def same(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    differ = {
        name: (found[name], value)
        for name, value in expected.items()
        if found[name] != value and not (math.isnan(found[name]) and math.isnan(value))
    }
    assert not differ


@examples(60)
@given(st.data())
def test_windows_at_any_instant_equal_the_brute_force(data: st.DataObject) -> None:
    history = data.draw(histories(n_users=2))
    batches = data.draw(splits(data.draw(arrivals(history))))
    rows = fold_batches(batches, n_users=2)
    times = [e.at_ms for e in history]
    anchors = [*times, *(t - t % w for t in times for w in (MINUTE, HOUR, DAY))]
    for _ in range(4):
        now_ms = max(1, data.draw(st.sampled_from(anchors)) + data.draw(st.sampled_from(AWAY_MS)))
        for user in range(2):
            same(say(rows, now_ms, user), oracle([e for e in history if e.user == user], now_ms))


@examples(40)
@given(st.data())
def test_all_but_the_sessions_equal_the_brute_force_for_any_order_at_all(data: st.DataObject) -> None:
    history = data.draw(histories())
    shuffled = data.draw(st.permutations(history))
    rows = fold_batches(data.draw(splits(shuffled)))
    now_ms = history[-1].at_ms + data.draw(st.sampled_from([a for a in AWAY_MS if a >= 0]))
    expected = oracle(history, now_ms)
    found = say(rows, now_ms)
    for name in ("n_sessions", "session_s"):
        expected.pop(name), found.pop(name)
    same(found, expected)


def test_the_names_are_those_of_the_oracle_and_of_an_empty_row() -> None:
    assert sorted(FEATURE_NAMES) == sorted(oracle([], T0))
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    same(say(empty_rows(1), T0), oracle([], T0))


def test_no_rows_give_empty_columns() -> None:
    found = windows(empty_rows(0), np.zeros(0, np.int64))
    assert tuple(found) == FEATURE_NAMES
    assert all(values.shape == (0,) and values.dtype == np.float64 for values in found.values())


@pytest.mark.parametrize(("name", "span"), [(name, (w, tile)) for name, (w, tile, _) in WINDOWS.items()])
def test_an_event_leaves_a_window_one_tile_after_its_width(name: str, span: tuple[int, int]) -> None:
    rows = fold_one(with_ids([Event(T0)]))
    assert say(rows, T0 - 1)[f"page_view_{name}_count"] == 0
    assert say(rows, T0)[f"page_view_{name}_count"] == 1
    assert say(rows, T0 + sum(span) - 1)[f"page_view_{name}_count"] == 1
    assert say(rows, T0 + sum(span))[f"page_view_{name}_count"] == 0


def test_counts_decay_when_the_user_stops_and_totals_stay() -> None:
    rows = fold_one(with_ids([Event(T0 + i * MINUTE, weight=3) for i in range(60)]))
    series = [say(rows, T0 + HOUR + h * HOUR) for h in (0, 1, 2, 25, 8 * 24, 32 * 24)]
    for name in WINDOWS:
        counts = [s[f"page_view_{name}_count"] for s in series]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == 0
        assert [s[f"page_view_{name}_weight"] for s in series] == [3 * c for c in counts]
    assert {s["page_view_total_count"] for s in series} == {60}
    assert {s["page_view_total_weight"] for s in series} == {180}


def test_each_row_is_asked_at_its_own_instant() -> None:
    rows = fold_one(with_ids([Event(T0, user=0), Event(T0, user=1)]), n_users=3)
    found = windows(rows, np.array([T0, T0 + 2 * DAY, T0], np.int64) * 1_000)
    assert found["page_view_24h_count"].tolist() == [1, 0, 0]
    assert found["days_since_last_event"].tolist()[:2] == [0, 2]
    assert math.isnan(found["days_since_last_event"][2])


def test_an_open_session_grows_with_the_clock_and_closes_after_thirty_minutes() -> None:
    rows = fold_one(with_ids([Event(T0), Event(T0 + 20 * MINUTE)]))
    assert say(rows, T0 + 50 * MINUTE)["session_s"] == 50 * 60
    assert say(rows, T0 + 50 * MINUTE + 1)["session_s"] == 0
    assert say(rows, T0 + 50 * MINUTE + 1)["n_sessions"] == 1


def test_onboarding_age_counts_from_what_was_said_else_from_the_first_event() -> None:
    said = fold_one(with_ids([Event(T0, family=None, onboarding_ms=T0 + DAY), Event(T0 + 2 * DAY)]))
    assert say(said, T0 + 3 * DAY)["onboarding_age_days"] == 2
    unsaid = fold_one(with_ids([Event(T0 + 2 * DAY)]))
    assert say(unsaid, T0 + 3 * DAY)["onboarding_age_days"] == 1

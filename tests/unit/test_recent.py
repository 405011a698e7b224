"""Friction: rage clicks, repeated errors and hesitation, from what a row keeps of the last hour."""

import numpy as np
import pytest
from events_builder import HOUR, MINUTE, SECOND, T0, Event, examples, fold_batches, fold_one, splits, with_ids
from fold_oracle import oracle
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.activity import windows
from feature_repo.recent import KEPT
from feature_repo.row import Rows, pack_rows


def say(rows: Rows, now_ms: int) -> dict[str, float]:
    return {name: float(v[0]) for name, v in windows(rows, np.array([now_ms * 1_000], np.int64)).items()}


def clicks(*offsets_ms: int, target: str = "save") -> list[Event]:
    return [Event(T0 + o, family="click", target=target) for o in offsets_ms]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (clicks(0, 900, 2_000), 1),
        (clicks(0, 900, 2_001), 0),
        (clicks(0, 100, 200, 300, 400), 3),
        (clicks(0, 0, 0), 1),
        (clicks(0, 100) + clicks(200, target="cancel"), 0),
        (clicks(0, 100, 200, target=""), 0),
        (clicks(0, 100, 200) + clicks(50, 150, 250, target="cancel"), 2),
    ],
)
def test_the_third_click_on_one_target_within_two_seconds_is_a_rage_click(events: list[Event], expected: int) -> None:
    assert say(fold_one(with_ids(events)), T0 + MINUTE)["rage_clicks_1h"] == expected


def test_friction_is_forgotten_after_the_hour() -> None:
    errors = [Event(T0 + i * SECOND, family="form_error", target="e-mail") for i in range(3)]
    rows = fold_one(with_ids([*clicks(0, 100, 200), *errors, Event(T0 + 10 * MINUTE)]))
    now = say(rows, T0 + 11 * MINUTE)
    assert (now["rage_clicks_1h"], now["errors_on_one_field_1h"], now["hesitations_1h"]) == (1, 3, 1)
    assert now["hesitation_minutes_1h"] == 9
    later = say(rows, T0 + HOUR + 10 * MINUTE + MINUTE)
    assert (later["rage_clicks_1h"], later["errors_on_one_field_1h"], later["hesitations_1h"]) == (0, 0, 0)


@pytest.mark.parametrize(("silent", "expected"), [(1, 0), (2, 1), (29, 1), (30, 0)])
def test_a_hesitation_is_two_silent_minutes_or_more_inside_a_session(silent: int, expected: int) -> None:
    rows = fold_one(with_ids([Event(T0), Event(T0 + (silent + 1) * MINUTE)]))
    assert say(rows, T0 + 40 * MINUTE)["hesitations_1h"] == expected


@examples(25)
@given(st.data())
def test_any_order_keeps_the_same_newest_and_the_minute_tiles_say_what_was_let_go(data: st.DataObject) -> None:
    """Beyond the bound: more clicks in an hour than are kept, in any order at all."""
    offsets = data.draw(st.lists(st.integers(0, 55 * MINUTE), min_size=KEPT + 1, max_size=KEPT + 40))
    history = with_ids([Event(T0 + o, family="click", target=f"t{o % 2}") for o in offsets])
    expected = fold_one(history)
    shuffled = data.draw(st.permutations(history))
    assert pack_rows(fold_batches(data.draw(splits(shuffled)))) == pack_rows(expected)
    now_ms = max(e.at_ms for e in history) + 1
    found, truth = say(expected, now_ms), oracle(history, now_ms)
    assert found["rage_clicks_1h"] == truth["rage_clicks_1h"]
    assert len(expected.recent.user) == KEPT
    assert found["click_1h_count"] - len(expected.recent.user) == len(history) - KEPT

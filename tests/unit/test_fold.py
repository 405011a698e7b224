"""fold(): one result for any order, duplication, split and company; what lies beyond the bounds is counted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from events_builder import (
    DAY,
    MINUTE,
    T0,
    Event,
    arrivals,
    batch,
    examples,
    fold_batches,
    fold_one,
    histories,
    splits,
    through_bytes,
    with_ids,
)
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.activity import LATENESS_MS, MAX_EVENT_MS, MAX_WEIGHT, fold
from feature_repo.applied import pack_applied
from feature_repo.row import concat_rows, empty_rows, first_rows, pack_rows
from feature_repo.tiles import LEVELS, MAX_USERS
from firstmile.errors import DataError
from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS

# ---------------------------------------------------------------- order, duplicates, batches, company


@examples(70)
@given(st.data())
def test_any_arrival_within_the_bounds_gives_the_bytes_of_the_order_of_events(data: st.DataObject) -> None:
    history = data.draw(histories())
    expected = fold_one(history)
    arrived = fold_batches(data.draw(splits(data.draw(arrivals(history)))))
    assert pack_rows(arrived) == pack_rows(expected)
    assert arrived.n_late.tolist() == arrived.n_too_late.tolist() == [0]


@examples(50)
@given(st.data())
def test_a_user_in_company_equals_the_same_user_alone(data: st.DataObject) -> None:
    history = data.draw(histories(n_users=3))
    arrived = data.draw(arrivals(history))
    together = fold_batches(data.draw(splits(arrived)), n_users=3)
    for user in range(3):
        own = [replace(e, user=0) for e in arrived if e.user == user]
        alone = fold_one(own)
        assert pack_rows(together)[user] == pack_rows(alone)[0]
        assert together.applied.max_received_us[user] == alone.applied.max_received_us[0]
        assert together.applied.n_duplicates[user] == alone.applied.n_duplicates[0]


@examples(40)
@given(st.data())
def test_one_order_split_anywhere_counts_the_same_late_events_however_late(data: st.DataObject) -> None:
    history = data.draw(histories())
    shuffled = data.draw(st.permutations(history))
    whole, parts = fold_one(shuffled), fold_batches(data.draw(splits(shuffled)))
    for column in ("n_late", "n_too_late", "first_ms", "last_ms"):
        assert getattr(whole, column).tolist() == getattr(parts, column).tolist()
    greatest = n_late = n_too_late = 0
    for event in shuffled:
        if event.family is None:
            continue
        n_late += event.at_ms < greatest - LATENESS_MS
        n_too_late += event.at_ms // DAY <= greatest // DAY - 31
        greatest = max(greatest, event.at_ms)
    assert (int(parts.n_late[0]), int(parts.n_too_late[0])) == (n_late, n_too_late)


@examples(40)
@given(st.data())
def test_totals_lose_no_event_in_any_order_at_all(data: st.DataObject) -> None:
    history = data.draw(histories())
    rows = fold_batches(data.draw(splits(data.draw(st.permutations(history)))))
    counted = [e for e in history if e.family is not None]
    assert int(rows.life.count.sum()) == len(counted)
    assert int(rows.life.weight.sum()) == sum(e.weight for e in counted)
    both = [e for e in counted if e.format and e.family in ("content_open", "content_complete")]
    assert int(rows.formats.count.sum()) == len(both)
    assert len(rows.sessions.user) <= 14


@examples(40)
@given(st.data())
def test_the_first_rows_alone_equal_those_of_all(data: st.DataObject) -> None:
    rows = fold_one(data.draw(histories(n_users=3)), n_users=3)
    n = data.draw(st.integers(0, 3))
    assert pack_rows(first_rows(rows, n)) == pack_rows(rows)[:n]
    assert pack_rows(through_bytes(first_rows(rows, n))) == pack_rows(rows)[:n]


@examples(40)
@given(st.data())
def test_rows_put_after_each_other_pack_as_each_does_alone(data: st.DataObject) -> None:
    parts = [fold_one(data.draw(histories(n_users=2)), n_users=2) for _ in range(data.draw(st.integers(1, 3)))]
    together = concat_rows(parts)
    assert pack_rows(together) == [packed for part in parts for packed in pack_rows(part)]
    assert pack_applied(together.applied) == [packed for part in parts for packed in pack_applied(part.applied)]


def test_nothing_to_fold_changes_nothing() -> None:
    assert fold(empty_rows(0), batch([]))[0].n_rows == 0
    rows = fold_one(with_ids([Event(T0)]))
    after, changed = fold(rows, batch([]))
    assert changed.tolist() == [False]
    assert pack_rows(after) == pack_rows(rows)
    assert after.version_us.tolist() == rows.version_us.tolist()


def test_fold_leaves_the_rows_it_was_given_alone() -> None:
    rows = fold_one(with_ids([Event(T0, content="c", step="s")]))
    before = pack_rows(rows)
    fold(rows, batch([Event(T0 + 1, content="d", step="t", message_id="x", onboarding_ms=T0)]))
    assert pack_rows(rows) == before


# ---------------------------------------------------------------- version


@examples(40)
@given(st.data())
def test_version_grows_with_every_change_and_is_the_greatest_received(data: st.DataObject) -> None:
    arrived = data.draw(arrivals(data.draw(histories(n_users=2))))
    rows = empty_rows(2)
    received = [0, 0]
    known: set[str] = set()
    for events in data.draw(splits(arrived)):
        after, changed = fold(rows, batch(events))
        for e in events:
            if e.message_id not in known:
                known.add(e.message_id)
                received[e.user] = max(received[e.user], e.received)
        for user in range(2):
            assert bool(changed[user]) == any(e.user == user for e in events)
            if changed[user]:
                assert after.version_us[user] == max(received[user], rows.version_us[user] + 1)
            else:
                assert after.version_us[user] == rows.version_us[user]
        rows = through_bytes(after)
    assert rows.applied.max_received_us.tolist() == received


def test_a_change_received_before_the_last_one_moves_the_version_by_one_microsecond() -> None:
    first = Event(T0, message_id="a", received_us=5_000_000)
    rows = fold_batches([[first], [Event(T0, message_id="b", received_us=4_000_000)]])
    assert rows.version_us.tolist() == [5_000_001]
    rows = fold_batches([[Event(T0, family=None, message_id="c", received_us=6_000_000)]], rows=rows)
    assert rows.version_us.tolist() == [6_000_000]


# ---------------------------------------------------------------- eviction and lateness


@examples(40)
@given(st.lists(st.integers(0, 60 * 24 * 40), min_size=1, max_size=40), st.data())
def test_what_is_kept_depends_on_the_greatest_event_time_alone(minutes: list[int], data: st.DataObject) -> None:
    events = with_ids([Event(T0 + m * MINUTE) for m in minutes])
    rows = fold_batches(data.draw(splits(data.draw(st.permutations(events)))))
    last = max(e.at_ms for e in events)
    for level, tiles in zip(LEVELS, rows.levels, strict=True):
        numbers = [e.at_ms // level.width_ms for e in events]
        expected = sorted({t for t in numbers if t > last // level.width_ms - level.kept})
        assert tiles.tile.tolist() == expected
        assert tiles.count.tolist() == [numbers.count(t) for t in expected]


def test_an_event_at_the_lateness_bound_is_not_late_and_one_beyond_is() -> None:
    rows = fold_batches([with_ids([Event(T0), Event(T0 - LATENESS_MS), Event(T0 - LATENESS_MS - 1)])])
    assert rows.n_late.tolist() == [1]
    assert rows.n_too_late.tolist() == [0]


def test_an_event_older_than_every_tile_counts_in_the_totals_and_is_counted_as_too_late() -> None:
    day = T0 // DAY * DAY
    events = with_ids([Event(day), Event(day - 30 * DAY), Event(day - 30 * DAY - 1, weight=7)])
    rows = fold_batches([[e] for e in events])
    assert rows.n_too_late.tolist() == [1]
    assert rows.n_late.tolist() == [2]
    assert rows.levels[-1].count.tolist() == [1, 1]
    assert rows.life.count.tolist() == [3]
    assert rows.life.weight.tolist() == [9]
    assert rows.first_ms.tolist() == [events[2].at_ms]


def test_events_that_are_not_counted_enter_no_tile_and_no_time_of_activity() -> None:
    rows = fold_one(with_ids([Event(T0, family=None, content="c", page="p", format="quiz", step="seen")]))
    assert not len(rows.life.key)
    assert not len(rows.sessions.user)
    assert not len(rows.contents.user)
    assert (rows.last_ms[0], rows.first_ms[0], rows.step[0]) == (0, 0, "seen")


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize("names", [("a", "a\0"), ("b", "a"), ("é", "e"), ("x" * 64, "x" * 70), ("\ud800", "?")])
def test_steps_at_one_time_give_one_answer_in_both_orders(names: tuple[str, str]) -> None:
    def folded(order: Sequence[str], *, at_once: bool) -> list[bytes]:
        events = [Event(T0, step=s, message_id=s.encode(errors="replace").hex()) for s in order]
        return pack_rows(fold_batches([events] if at_once else [[e] for e in events]))

    forward = folded(names, at_once=True)
    assert forward == folded(names[::-1], at_once=True) == folded(names, at_once=False)
    assert forward == folded(names[::-1], at_once=False)


def test_the_step_is_the_latest_by_event_time_and_cut_to_64_characters() -> None:
    rows = fold_batches([with_ids([Event(T0 + 1, step="é" * 70), Event(T0, step="z")])])
    assert rows.step.tolist() == ["é" * 64]
    assert rows.step_ms.tolist() == [T0 + 1]


# ---------------------------------------------------------------- events that cannot be


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"at_ms": 0, "received_us": 1}, "event_ms 0"),
        ({"at_ms": -5, "received_us": 1}, "event_ms -5"),
        ({"at_ms": MAX_EVENT_MS + 1}, f"event_ms {MAX_EVENT_MS + 1}"),
        ({"weight": -1}, "weight -1"),
        ({"weight": MAX_WEIGHT + 1}, f"weight {MAX_WEIGHT + 1}"),
        ({"received_us": 0}, "received_us 0"),
        ({"user": 1}, "user 1"),
        ({"user": -1}, "user -1"),
    ],
)
def test_an_impossible_event_is_refused_and_named(change: dict[str, int], names: str) -> None:
    good = Event(T0, message_id="good")
    with pytest.raises(DataError, match=names):
        fold(empty_rows(1), batch([good, replace(good, message_id="bad", **change)]))


@pytest.mark.parametrize(("column", "code"), [("family", -2), ("family", len(FAMILIES)), ("format", len(FORMATS))])
def test_a_code_outside_the_closed_lists_is_refused(column: str, code: int) -> None:
    events = replace(batch([Event(T0)]), **{column: np.array([code], np.int64)})
    with pytest.raises(DataError, match=f"{column} {code}"):
        fold(empty_rows(1), events)


def test_more_users_than_a_key_has_room_for_are_refused() -> None:
    with pytest.raises(DataError, match=f"at most {MAX_USERS}"):
        fold(empty_rows(MAX_USERS + 1), batch([]))


def test_the_last_possible_time_and_weight_fold_and_come_back() -> None:
    events = with_ids([Event(1, received_us=1), Event(MAX_EVENT_MS, weight=MAX_WEIGHT, step="s", received_us=2)])
    rows = fold_batches([[e] for e in events])
    assert (rows.first_ms[0], rows.last_ms[0], rows.step_ms[0]) == (1, MAX_EVENT_MS, MAX_EVENT_MS)
    assert rows.life.weight.tolist() == [MAX_WEIGHT + 1]
    both = fold_one(with_ids([Event(MAX_EVENT_MS, user=u, received_us=1) for u in (0, 1)]), n_users=2)
    assert both.n_late.tolist() == [0, 0]
    assert both.sessions.end_ms.tolist() == [MAX_EVENT_MS] * 2

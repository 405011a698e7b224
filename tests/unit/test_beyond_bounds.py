"""Beyond the bounds something may be lost, never silently: the row's counters say at least as much."""

from collections.abc import Sequence
from dataclasses import replace

from events_builder import DAY, SECOND, T0, Event, examples, fold_batches, fold_one, histories, splits, with_ids
from fold_oracle import oracle
from hypothesis import given
from hypothesis import strategies as st
from test_windows import same, say

from feature_repo.applied import ID_WINDOW_S, MAX_IDS
from feature_repo.row import Rows

S = 1_000_000
APART_S = (0, 1, 3_600, ID_WINDOW_S - 1, ID_WINDOW_S, ID_WINDOW_S + 1, ID_WINDOW_S + 2, 3 * ID_WINDOW_S)


# ---------------------------------------------------------------- later than L


@examples(60)
@given(st.data())
def test_an_order_that_counts_no_late_event_loses_nothing(data: st.DataObject) -> None:
    history = data.draw(histories())
    # Half of the orders near the one of time, so that both outcomes are common.
    reach = data.draw(st.sampled_from((1, 3, len(history))))
    keys = [i + data.draw(st.integers(0, reach)) for i in range(len(history))]
    shuffled = [history[i] for i in sorted(range(len(history)), key=lambda i: keys[i])]
    rows = fold_batches(data.draw(splits(shuffled)))
    now_ms = history[-1].at_ms + data.draw(st.sampled_from((0, SECOND, 2 * DAY)))
    found, expected = say(rows, now_ms), oracle(history, now_ms)
    n_late = int(rows.n_late[0])
    if n_late:
        # What a late event can spoil: the session it would have been, or have joined.
        assert abs(found.pop("n_sessions") - expected.pop("n_sessions")) <= n_late
        found.pop("session_s"), expected.pop("session_s")
    same(found, expected)


@examples(40)
@given(st.lists(st.integers(0, 90), min_size=2, max_size=25), st.data())
def test_days_that_have_left_every_tile_are_in_the_totals_and_counted(days: list[int], data: st.DataObject) -> None:
    events = with_ids([Event(T0 + d * DAY) for d in days])
    rows = fold_batches(data.draw(splits(events)))
    greatest, n_too_late = 0, 0
    for event in events:
        n_too_late += event.at_ms // DAY <= greatest // DAY - 31
        greatest = max(greatest, event.at_ms)
    n_left = sum(e.at_ms // DAY <= greatest // DAY - 31 for e in events)
    assert int(rows.n_too_late[0]) == n_too_late <= n_left
    assert int(rows.levels[-1].count.sum()) == len(events) - n_left
    assert int(rows.life.count.sum()) == len(events)


# ---------------------------------------------------------------- more ids, or longer apart, than are remembered


@examples(15)
@given(st.integers(MAX_IDS - 50, MAX_IDS + 300), st.lists(st.integers(0, MAX_IDS + 299), max_size=40), st.data())
def test_repeats_of_more_ids_than_are_kept_count_again_only_as_far_as_evictions_say(
    n: int, again: list[int], data: st.DataObject
) -> None:
    events = with_ids([Event(T0 + i, received_us=(T0 + i) * 1_000) for i in range(n)])
    end_us = events[-1].received
    repeated = [replace(events[i % n], received_us=end_us + 1 + k) for k, i in enumerate(again)]
    cut = data.draw(st.integers(0, n))
    rows = fold_batches([events[:cut], events[cut:], *([e] for e in repeated)])
    n_counted_again = int(rows.life.count.sum()) - n
    assert n_counted_again + int(rows.applied.n_duplicates[0]) == len(repeated)
    assert n_counted_again <= int(rows.applied.n_ids_evicted[0])
    if n + n_counted_again <= MAX_IDS:
        assert n_counted_again == 0


@examples(60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(APART_S)), min_size=1, max_size=25), st.data())
def test_repeats_beyond_the_id_window_count_again_and_none_within_it(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    events, at_s = [], T0 // 1_000
    for name, apart_s in steps:
        at_s += apart_s
        events.append(Event(T0, message_id=name, received_us=at_s * S))
    one_by_one = fold_batches([[e] for e in events])
    assert counted(one_by_one) == _by_hand(events)
    # An id is forgotten when a counted event comes, so how batches are cut moves when; never within the window.
    rows = fold_batches(data.draw(splits(events)))
    assert len({e.message_id for e in events}) <= counted(rows) <= _most(events)
    for each in (rows, one_by_one):
        assert counted(each) + int(each.applied.n_duplicates[0]) == len(events)


def counted(rows: Rows) -> int:
    """Events the row has counted."""
    return int(rows.life.count.sum())


def _by_hand(events: Sequence[Event]) -> int:
    known: dict[str, int] = {}
    n = 0
    for event in events:
        received_s = event.received // S
        if event.message_id not in known:
            n += 1
            known[event.message_id] = received_s
            known = {name: at_s for name, at_s in known.items() if at_s >= received_s - ID_WINDOW_S}
    return n


def _most(events: Sequence[Event]) -> int:
    """How many can be counted at most, if no two of an id within the window are."""
    known: dict[str, int] = {}
    n = 0
    for event in events:
        received_s = event.received // S
        if received_s - known.get(event.message_id, -ID_WINDOW_S) > ID_WINDOW_S:
            n += 1
            known[event.message_id] = received_s
    return n


def test_the_counter_of_evictions_is_zero_as_long_as_all_ids_fit() -> None:
    rows = fold_one(with_ids([Event(T0 + i, received_us=(i + 1) * S) for i in range(MAX_IDS)]))
    assert rows.applied.n_ids_evicted.tolist() == [0]

"""Fences, message ids and the end of file history: replays and duplicates change nothing, what was lost is counted."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from events_builder import (
    DAY,
    HOUR,
    T0,
    Event,
    arrivals,
    batch,
    examples,
    fold_batches,
    fold_one,
    histories,
    through_bytes,
    with_ids,
)
from hypothesis import example, given
from hypothesis import strategies as st

from feature_repo.activity import fold
from feature_repo.applied import ID_WINDOW_S, MAX_IDS, PARTITION_BITS, first, message_hash, pack_applied, without_ids
from feature_repo.row import Rows, empty_rows, pack_rows
from firstmile.errors import DataError

TOPICS = ("actions", "logs", "context")
N_USERS = 3
S = 1_000_000


def logged(events: Sequence[Event], topics: Sequence[str]) -> list[Event]:
    """The events as records: each user in a partition of their own, offsets rising per topic and partition."""
    next_offset: dict[tuple[str, int], int] = {}
    out = []
    for event, topic in zip(events, topics, strict=True):
        place = (topic, event.user % 2)
        offset = next_offset.get(place, 0)
        next_offset[place] = offset + 1
        out.append(replace(event, topic=topic, partition=place[1], offset=offset))
    return out


def stored(rows: Rows) -> tuple[list[bytes], list[bytes]]:
    return pack_rows(rows), pack_applied(rows.applied)


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Records of three users over three topics, duplicates among them, in order of arrival."""
    events = draw(arrivals(draw(histories(n_users=N_USERS, max_size=15))))
    return logged(events, draw(st.lists(st.sampled_from(TOPICS), min_size=len(events), max_size=len(events))))


# ---------------------------------------------------------------- fence


@examples(50)
@given(st.data())
def test_batches_that_begin_again_anywhere_behind_change_nothing(data: st.DataObject) -> None:
    log = data.draw(logs())
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=4))), len(log)]
    batches = [log[data.draw(st.integers(0, a)) : b] for a, b in pairwise(edges)]
    assert stored(fold_batches(batches, n_users=N_USERS)) == stored(fold_one(log, n_users=N_USERS))


@examples(50)
@given(st.data())
def test_replays_of_any_stretch_of_any_partition_change_no_row(data: st.DataObject) -> None:
    log = data.draw(logs())
    rows = fold_one(log, n_users=N_USERS)
    again: list[Event] = []
    for topic in TOPICS:
        for partition in (0, 1):
            own = [e for e in log if (e.topic, e.partition) == (topic, partition)]
            a, b = sorted((data.draw(st.integers(0, len(own))), data.draw(st.integers(0, len(own)))))
            again += own[a:b]
    after, changed = fold(rows, batch(again))
    assert changed.tolist() == [False] * N_USERS
    assert stored(after) == stored(rows)
    assert after.version_us.tolist() == rows.version_us.tolist()


@examples(30)
@given(st.data())
def test_a_new_record_among_replayed_ones_counts(data: st.DataObject) -> None:
    log = data.draw(logs())
    cut = data.draw(st.integers(0, len(log)))
    rows = fold_one(log[:cut], n_users=N_USERS)
    after, changed = fold(rows, batch(log))
    assert stored(after) == stored(fold_one(log, n_users=N_USERS))
    assert changed.tolist() == [any(e.user == u for e in log[cut:]) for u in range(N_USERS)]


def test_each_topic_and_partition_has_its_own_fence() -> None:
    places = [(t, p) for t in TOPICS for p in (0, 5)]
    events = with_ids([Event(T0, topic=t, partition=p, offset=7) for t, p in places])
    rows = fold_batches([[e] for e in events])
    assert rows.life.count.tolist() == [len(places)]
    below = [replace(e, offset=6, message_id=f"x{i}") for i, e in enumerate(events)]
    assert fold_batches([below], rows=rows).life.count.tolist() == [len(places)]
    above = [replace(e, offset=8) for e in below]
    assert fold_batches([above], rows=rows).life.count.tolist() == [2 * len(places)]


def test_a_recreated_topic_starts_a_new_fence_and_its_repeats_are_duplicates() -> None:
    old = logged(with_ids([Event(T0 + i) for i in range(5)]), ["id-1"] * 5)
    rows = fold_one(old)
    republished = [replace(e, topic="id-2") for e in old[3:]]
    republished = [replace(e, offset=i) for i, e in enumerate(republished)]
    fresh = Event(T0 + 9, message_id="new", topic="id-2", partition=0, offset=2)
    rows = fold_batches([[*republished, fresh]], rows=rows)
    assert rows.life.count.tolist() == [6]
    assert rows.applied.n_duplicates.tolist() == [2]
    assert sorted(rows.applied.fence_offset.tolist()) == [2, 4]
    again, changed = fold(rows, batch([*old, *republished, fresh]))
    assert changed.tolist() == [False]
    assert stored(again) == stored(rows)


def test_one_record_twice_in_a_batch_counts_once() -> None:
    record = Event(T0, topic="t", partition=0, offset=4, message_id="m")
    rows = fold_batches([[record, record], [record]])
    assert rows.life.count.tolist() == [1]
    assert rows.applied.fence_offset.tolist() == [4]


def test_a_refused_record_moves_the_fence_and_the_version() -> None:
    record = Event(T0, topic="t", partition=0, offset=4, message_id="m", received_us=S)
    rows = fold_batches([[record]])
    after, changed = fold(rows, batch([replace(record, offset=5, received_us=9 * S)]))
    assert changed.tolist() == [True]
    assert after.applied.fence_offset.tolist() == [5]
    assert after.applied.n_duplicates.tolist() == [1]
    assert after.version_us.tolist() == [S + 1]
    assert pack_rows(after) == pack_rows(rows)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"partition": 1 << PARTITION_BITS}, f"partition {1 << PARTITION_BITS}"),
        ({"partition": -2}, "partition -2"),
        ({"offset": -1}, "offset -1"),
    ],
)
def test_a_place_that_cannot_be_is_refused(change: dict[str, int], names: str) -> None:
    good = Event(T0, topic="t", partition=0, offset=0)
    with pytest.raises(DataError, match=names):
        fold(empty_rows(1), batch([good, replace(good, **change)]))


def test_the_last_partition_and_a_great_offset_come_back() -> None:
    record = Event(T0, topic="t", partition=(1 << PARTITION_BITS) - 1, offset=2**62)
    rows = fold_batches([[record]])
    assert rows.applied.fence_partition.tolist() == [record.partition]
    assert rows.applied.fence_offset.tolist() == [record.offset]
    assert fold(rows, batch([record]))[1].tolist() == [False]


# ---------------------------------------------------------------- message ids


@examples(40)
@given(
    st.integers(0, 2 * S),
    st.integers(0, 2 * S),
    st.integers(0, 2 * S).map(lambda us: ID_WINDOW_S * S - us),
    st.booleans(),
)
@example(900_000, 0, ID_WINDOW_S * S - 1, True)
def test_a_duplicate_within_24_hours_counts_once_whatever_came_between(
    start_us: int, between_us: int, apart_us: int, is_split: bool
) -> None:
    once = Event(T0, message_id="m", received_us=S + start_us)
    between = Event(T0, message_id="other", received_us=min(once.received + apart_us, S + between_us + apart_us))
    again = replace(once, received_us=once.received + apart_us)
    events = [once, between, again]
    rows = fold_batches([[e] for e in events] if is_split else [events])
    assert rows.life.count.tolist() == [2]
    assert rows.applied.n_duplicates.tolist() == [1]


def test_a_duplicate_outside_24_hours_counts_again_and_its_id_was_let_go() -> None:
    once = Event(T0, message_id="m", received_us=10 * S)
    later = Event(T0 + DAY, message_id="n", received_us=(12 + ID_WINDOW_S) * S)
    rows = fold_batches([[once], [later]])
    assert rows.applied.id_hash.tolist() == message_hash(["n"]).tolist()
    rows = fold_batches([[replace(once, received_us=later.received + 1)]], rows=rows)
    assert rows.life.count.tolist() == [3]
    assert rows.applied.n_duplicates.tolist() == [0]
    assert rows.applied.n_ids_evicted.tolist() == [0]


def test_ids_of_one_user_are_nothing_to_another() -> None:
    rows = fold_one([Event(T0, user=u, message_id="m") for u in (0, 1, 0)], n_users=2)
    assert rows.life.count.tolist() == [1, 1]
    assert rows.applied.n_duplicates.tolist() == [1, 0]


def test_the_oldest_ids_past_the_limit_are_let_go_and_counted() -> None:
    n = MAX_IDS + 100
    events = with_ids([Event(T0 + i, received_us=(i + 1) * S) for i in range(n)])
    whole = fold_one([*events, Event(T0, user=1, message_id="m0")], n_users=2)
    parts = fold_batches([events[:3], events[3:5_000], events[5_000:]])
    for rows in (whole, parts):
        assert rows.applied.n_ids_evicted[0] == 100
        own = rows.applied.id_hash[rows.applied.id_user == 0]
        assert set(own.tolist()) == set(message_hash([e.message_id for e in events[100:]]).tolist())
    assert whole.applied.n_ids_evicted[1] == 0
    assert pack_rows(whole)[0] == pack_rows(parts)[0]
    assert pack_applied(first(whole.applied, 1)) == pack_applied(parts.applied)
    again = fold_batches([[events[99], events[100]]], rows=parts)
    assert again.applied.n_duplicates.tolist() == [1]
    assert again.life.count.tolist() == [n + 1]


def test_a_full_memory_of_ids_stays_within_its_size() -> None:
    events = with_ids([Event(T0 + i, received_us=T0 * 1_000 + i * 20 * S) for i in range(MAX_IDS)])
    live = logged(events, [TOPICS[i % 3] for i in range(MAX_IDS)])
    assert len(pack_applied(fold_one(live).applied)[0]) <= MAX_IDS * 10 + 200


def test_an_older_row_of_the_history_keeps_all_but_the_ids() -> None:
    rows = fold_one(logged(with_ids([Event(T0), Event(T0 + HOUR, user=1)]), ["t", "t"]), n_users=2)
    assert without_ids(rows.applied, 1).id_user.tolist() == [1]
    bare = without_ids(rows.applied, 2)
    assert not len(bare.id_hash)
    assert bare.fence_offset.tolist() == rows.applied.fence_offset.tolist()
    assert bare.max_received_us.tolist() == rows.applied.max_received_us.tolist()


# ---------------------------------------------------------------- history from files


def from_history(events: Sequence[Event], history_to_us: int) -> Rows:
    rows = fold_one(events)
    return through_bytes(replace(rows, applied=replace(rows.applied, history_to_us=np.array([history_to_us]))))


def test_live_events_up_to_the_end_of_the_history_are_skipped_and_counted() -> None:
    files = with_ids([Event(T0), Event(T0 + HOUR)])
    end_us = (T0 + DAY) * 1_000
    rows = from_history(files, end_us)
    live = logged([replace(e, message_id=f"l{i}") for i, e in enumerate(files)], ["t", "t"])
    at_end = Event(T0, message_id="e", received_us=end_us, topic="t", partition=0, offset=2)
    after_end = Event(T0, message_id="f", received_us=end_us + 1, topic="t", partition=0, offset=3)
    after = fold_batches([[*live, at_end], [*live, at_end, after_end]], rows=rows)
    assert after.applied.n_in_history.tolist() == [3]
    assert after.life.count.tolist() == [3]
    assert after.version_us.tolist() == [end_us + 1]
    assert after.applied.history_to_us.tolist() == [end_us]


def test_an_event_of_the_history_that_arrives_live_later_is_a_duplicate() -> None:
    rows = from_history(with_ids([Event(T0)]), (T0 + HOUR) * 1_000)
    late = Event(T0, message_id="m0", received_us=(T0 + 2 * HOUR) * 1_000, topic="t", partition=0, offset=0)
    after = fold_batches([[late]], rows=rows)
    assert after.applied.n_duplicates.tolist() == [1]
    assert pack_rows(after) == pack_rows(rows)


def test_events_from_files_are_not_held_against_the_end_of_the_history() -> None:
    rows = from_history(with_ids([Event(T0)]), (T0 + DAY) * 1_000)
    after = fold_batches([[Event(T0 + HOUR, message_id="more")]], rows=rows)
    assert after.life.count.tolist() == [2]
    assert after.applied.n_in_history.tolist() == [0]
    assert not len(after.applied.fence_user)

"""Sessions: merged and trimmed to one result for any order within the lateness bound."""

import numpy as np
from events_builder import DAY, HOUR, MINUTE, T0, Event, arrivals, examples, fold_batches, fold_one, splits, with_ids
from fold_oracle import sessions
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.activity import LATENESS_MS
from feature_repo.row import Rows, pack_rows


def kept_sessions(rows: Rows) -> list[tuple[int, int]]:
    return list(zip(rows.sessions.start_ms.tolist(), rows.sessions.end_ms.tolist(), strict=True))


def test_a_late_event_joins_two_sessions() -> None:
    apart = with_ids([Event(T0), Event(T0 + 50 * MINUTE)])
    rows = fold_batches([apart])
    assert len(kept_sessions(rows)) == 2
    rows = fold_batches([[Event(T0 + 25 * MINUTE, message_id="late")]], rows=rows)
    assert kept_sessions(rows) == [(T0, T0 + 50 * MINUTE)]
    assert rows.n_late.tolist() == [0]


def test_a_late_event_joins_two_sessions_the_older_of_which_could_seem_final() -> None:
    """Eight final sessions, then one that ended more than L ago, but that an event within L still reaches."""
    old = [Event(T0 + i * DAY) for i in range(8)]
    start = T0 + 10 * DAY
    bridge = Event(start + 25 * MINUTE, message_id="bridge")
    ahead = with_ids([*old, Event(start), Event(start + 50 * MINUTE), Event(bridge.at_ms + LATENESS_MS)])
    rows = fold_batches([[e] for e in (*ahead, bridge)])
    assert rows.n_late.tolist() == [0]
    assert pack_rows(rows) == pack_rows(fold_one([*ahead[:9], bridge, *ahead[9:]]))
    assert len(kept_sessions(rows)) == 10
    assert rows.sessions.n_dropped.tolist() == [0]


@examples(40)
@given(st.data())
def test_many_sessions_keep_the_newest_and_count_the_rest(data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.sampled_from((MINUTE, 30 * MINUTE, 31 * MINUTE, 3 * HOUR)), min_size=8, max_size=60))
    times = (T0 + np.cumsum(gaps)).tolist()
    arrived = data.draw(arrivals(with_ids([Event(t) for t in times])))
    rows = fold_batches(data.draw(splits(arrived)))
    expected = sessions(times)
    kept = kept_sessions(rows)
    assert int(rows.sessions.n_dropped[0]) + len(kept) == len(expected)
    assert kept == expected[-len(kept) :]
    assert min(8, len(expected)) <= len(kept) <= 14


def test_an_event_far_older_than_the_kept_sessions_opens_none() -> None:
    rows = fold_one(with_ids([Event(T0 + i * 4 * HOUR) for i in range(20)]))
    before = (kept_sessions(rows), int(rows.sessions.n_dropped[0]))
    rows = fold_batches([[Event(T0 + HOUR, message_id="old")]], rows=rows)
    assert (kept_sessions(rows), int(rows.sessions.n_dropped[0])) == before
    assert rows.life.count.tolist() == [21]


def test_an_event_shortly_before_the_oldest_kept_session_lengthens_it() -> None:
    rows = fold_one(with_ids([Event(T0 + i * 4 * HOUR) for i in range(20)]))
    (start, end), *rest = kept_sessions(rows)
    rows = fold_batches([[Event(start - 30 * MINUTE, message_id="old")]], rows=rows)
    assert kept_sessions(rows) == [(start - 30 * MINUTE, end), *rest]

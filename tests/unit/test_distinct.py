"""Distinct contents: exact to 64, then a filter; the same for any order, and never less than was known."""

from itertools import pairwise

import numpy as np
import pytest
from events_builder import T0, Event, examples, fold_batches, fold_one, with_ids
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import distinct
from feature_repo.row import Rows, pack_rows


def counts(rows: Rows) -> list[float]:
    return distinct.count(rows.contents, rows.n_rows).tolist()


def opened(names: list[str], user: int = 0) -> list[Event]:
    return [Event(T0 + i, user, "content_open", content=c) for i, c in enumerate(names)]


@examples(40)
@given(st.data())
def test_the_change_to_a_filter_depends_on_no_order_split_or_company(data: st.DataObject) -> None:
    """Two users around the limit of 64, one of whom may cross it in the middle of a batch."""
    n = [data.draw(st.integers(60, 70)), data.draw(st.integers(1, 130))]
    events = with_ids([e for u in (0, 1) for e in opened([f"{i % n[u]}" for i in range(140)], u)])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shuffled = [events[i] for i in rng.permutation(len(events))]
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4))), len(events)]
    rows = fold_batches([shuffled[a:b] for a, b in pairwise(cuts)], n_users=2)
    expected = fold_one(events, n_users=2)
    # Tiles and sessions are the same anyway: all of it lies within a second.
    assert pack_rows(rows) == pack_rows(expected)
    assert rows.contents.sketched.tolist() == [u for u in (0, 1) if n[u] > distinct.EXACT]
    for user in (0, 1):
        names = distinct.content_hash([f"{i}" for i in range(n[user])])
        assert distinct.contains(rows.contents, user, names).tolist() == [True] * n[user]
        assert counts(rows)[user] == pytest.approx(n[user], rel=0 if n[user] <= distinct.EXACT else 0.1)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 66, 100, 200, 400])
def test_distinct_contents_are_exact_to_64_and_near_after(n: int) -> None:
    events = with_ids(opened([f"item-{i}" for i in range(n)]))
    (found,) = counts(fold_batches([events[: n // 2], events[n // 2 :], []]))
    assert found == pytest.approx(n, rel=0 if n <= 64 else 0.05)
    assert found >= min(n, 65)


def test_distinct_count_never_falls_as_contents_are_added() -> None:
    for salt in range(8):
        events = with_ids(opened([f"{salt}-{i}" for i in range(80)]))
        rows, seen = fold_one(events[:60]), 60.0
        for event in events[60:]:
            rows = fold_batches([[event]], rows=rows)
            (now,) = counts(rows)
            assert now >= seen
            seen = now


def test_a_sketch_forgets_nothing_and_invents_little() -> None:
    names = [f"item-{i}" for i in range(300)]
    rows = fold_one(with_ids(opened(names)))
    assert distinct.contains(rows.contents, 0, distinct.content_hash(names)).tolist() == [True] * 300
    others = distinct.content_hash([f"other-{i}" for i in range(2_000)])
    assert distinct.contains(rows.contents, 0, others).mean() < 0.1
    few = fold_one(with_ids(opened(["item-0"])))
    assert distinct.contains(few.contents, 0, distinct.content_hash(["item-0", "item-1"])).tolist() == [True, False]


def test_a_full_sketch_still_answers() -> None:
    words = np.full((1, distinct.N_WORDS), 127, np.int64)
    full = distinct.Distinct(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64), words)
    (n,) = distinct.count(full, 1)
    assert np.isfinite(n)


def test_a_name_has_one_hash_in_whatever_company() -> None:
    names = [*(f"page-{i}" for i in range(distinct.FEW)), "", "page-1"]
    together = distinct.content_hash(names)
    assert together[[0, 1, -1]].tolist() == distinct.content_hash(["page-0", "page-1", "page-1"]).tolist()
    assert together[-2] == 0

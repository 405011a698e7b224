"""Token buckets: the rate holds, memory is bounded, and many names buy nothing."""

from hypothesis import given
from hypothesis import strategies as st

from firstmile.http.limits import RateLimit

gaps = st.lists(st.floats(0, 3), min_size=1, max_size=60)


@given(gaps=gaps, per_s=st.floats(0.1, 10), burst=st.floats(1, 10))
def test_never_more_than_burst_and_rate_allow(gaps: list[float], per_s: float, burst: float) -> None:
    limit = RateLimit(per_s=per_s, burst=burst)
    now_s, allowed = 0.0, []
    for gap in gaps:
        now_s += gap
        if limit.wait_s("u", now_s=now_s) == 0:
            allowed.append(now_s)
    assert allowed[0] == gaps[0]  # nobody waits for a first call
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= burst + per_s * (allowed[last] - allowed[first]) + 1e-6


@given(gaps=gaps, per_s=st.floats(0.1, 10))
def test_who_waits_as_told_is_let_in(gaps: list[float], per_s: float) -> None:
    limit = RateLimit(per_s=per_s, burst=1)
    now_s = 0.0
    for gap in gaps:
        now_s += gap
        if wait_s := limit.wait_s("u", now_s=now_s):
            now_s += wait_s + 1e-6
            assert limit.wait_s("u", now_s=now_s) == 0


def test_zero_is_no_limit() -> None:
    limit = RateLimit(per_s=0, burst=0)
    assert not any(limit.wait_s("u", now_s=0) for _ in range(1_000))
    assert len(limit) == 0


def test_many_names_do_not_bring_a_used_up_bucket_back() -> None:
    limit = RateLimit(per_s=1, burst=2, max_callers=100)
    assert [limit.wait_s("greedy", now_s=0) > 0 for _ in range(3)] == [False, False, True]
    let_in = sum(limit.wait_s(f"name-{n}", now_s=0.1) == 0 for n in range(10_000))
    assert len(limit) <= 101
    assert let_in <= 99 + 2  # the free places, and the burst that all others share
    assert limit.wait_s("greedy", now_s=0.2) > 0


def test_callers_seen_before_keep_their_own_bucket_in_a_crowd() -> None:
    limit = RateLimit(per_s=1, burst=2, max_callers=100)
    limit.wait_s("honest", now_s=0)
    for n in range(10_000):
        limit.wait_s(f"name-{n}", now_s=0.1)
    assert limit.wait_s("honest", now_s=0.2) == 0


def test_full_buckets_make_place_for_newcomers() -> None:
    limit = RateLimit(per_s=1, burst=2, max_callers=10)
    times = [n * 0.5 for n in range(200)]
    assert all(limit.wait_s(f"name-{n}", now_s=at_s) == 0 for n, at_s in enumerate(times))
    assert len(limit) <= 11

"""The joiner: an example per decision, once, whatever the order, repeats, batches and restarts; bounds are counted."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from online_builder import LATENESS, SECOND, T0, WINDOW, ListLog, World, bounds, opened, shown, state, worlds

from training.online_join import Example, Joiner, Shown
from training.online_state import State

END = T0 + 10 * (WINDOW + LATENESS)


def read_all(source: World, begin: State, *, seed: int, at_most: int = 12) -> list[Example]:
    log, found = ListLog(source, begin, seed=seed, at_most=at_most), []
    while not log.is_read:
        found += begin.join(log.read())
    return found


def said(examples: list[Example]) -> list[tuple[str, bool]]:
    return [(e.request_id, e.is_opened) for e in examples]


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(0, 2**32), st.integers(1, 40))
def test_any_order_any_repeats_and_any_split_give_each_decision_once_in_the_order_of_closing(
    source: World, seed: int, at_most: int
) -> None:
    learner = state()
    assert said(read_all(source, learner, seed=seed, at_most=at_most)) == source.expected()
    counts = learner.joiner.all_counts()
    n_repeats = sum(isinstance(fact, Shown) for fact in source.facts()) - len(source.expected())
    assert (counts["n_duplicates"], counts["n_late"]) == (n_repeats, 0)
    assert (counts["n_closed_early"], counts["n_opens_let_go"], counts["n_late_opens"]) == (0, 0, 0)
    assert (learner.joiner.n_open, learner.joiner.n_opens) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 2**32), st.data())
def test_a_restart_from_any_snapshot_goes_on_with_the_same_examples(
    source: World, seed: int, data: st.DataObject
) -> None:
    learner, before = state(), []
    log = ListLog(source, learner, seed=seed)
    for _ in range(data.draw(st.integers(0, 12), label="batches before the snapshot")):
        before += learner.join(log.read())
    kept = pickle.dumps(learner)
    for _ in range(data.draw(st.integers(0, 12), label="batches lost with the process")):
        learner.join(log.read())
    again: State = pickle.loads(kept)
    after = read_all(source, again, seed=data.draw(st.integers(0, 2**32)))
    assert said(before + after) == source.expected()


def test_the_window_includes_both_its_ends_and_nothing_else() -> None:
    window_s = WINDOW // SECOND
    for at, is_in in [(-0.000001, False), (0, True), (window_s, True), (window_s + 0.000001, False)]:
        joiner = Joiner(bounds())
        joiner.opened(opened(at=at))
        joiner.decided(shown("r"))
        assert said(joiner.close(END)) == [("r", is_in)]


@pytest.mark.parametrize(
    ("content", "user", "delay", "is_in"),
    [("c1", "u0", 0, True), ("c2", "u0", 0, False), ("c1", "u1", 0, False), ("c1", "u0", 61, False)],
)
def test_an_open_counts_for_its_user_and_content_if_it_was_received_in_time(
    content: str, user: str, delay: int, is_in: bool
) -> None:
    joiner = Joiner(bounds())
    joiner.decided(shown("r"))
    joiner.opened(opened(content, user=user, delay=delay))
    assert said(joiner.close(END)) == [("r", is_in)]


def test_nothing_closes_before_window_and_lateness_have_passed() -> None:
    joiner = Joiner(bounds())
    joiner.decided(shown("r"))
    assert joiner.close(T0 + WINDOW + LATENESS - 1) == []
    assert said(joiner.close(T0 + WINDOW + LATENESS)) == [("r", False)]
    assert joiner.close(END) == []


def test_a_decision_or_its_repeat_after_the_close_is_counted_and_not_learned() -> None:
    joiner = Joiner(bounds(max_seen=1))
    joiner.decided(shown("old"))
    joiner.decided(shown("r"))
    assert len(joiner.close(END)) == 2
    for late in (shown("r"), shown("old"), shown("never seen")):
        joiner.decided(late)
    assert joiner.close(END + WINDOW) == []
    # `r` is remembered, `old` no longer is: both are refused, one is known for what it is.
    assert (joiner.counts["n_duplicates"], joiner.counts["n_late"]) == (1, 2)


def test_past_the_cap_the_oldest_closes_with_what_is_known_and_is_not_learned_again() -> None:
    joiner = Joiner(bounds(max_open=2))
    joiner.opened(opened(at=1))
    for i in range(4):
        joiner.decided(shown(f"r{i}", at=i))
    assert said(joiner.close(T0)) == [("r0", True), ("r1", True)]
    joiner.decided(shown("r0"))
    assert said(joiner.close(END)) == [("r2", False), ("r3", False)]
    assert (joiner.counts["n_closed_early"], joiner.counts["n_duplicates"]) == (2, 1)


def test_past_the_cap_the_oldest_open_is_let_go_and_counted() -> None:
    joiner = Joiner(bounds(max_opens=1))
    joiner.decided(shown("r", ranking=("c1", "c2")))
    joiner.decided(shown("s", user="u1"))
    joiner.opened(opened("c1", at=1))
    joiner.opened(opened("c1", user="u1", at=2))
    assert joiner.n_opens == 1
    assert said(joiner.close(END)) == [("r", False), ("s", True)]
    assert joiner.counts["n_opens_let_go"] == 1


def test_an_open_that_may_have_missed_its_decision_is_counted() -> None:
    joiner = Joiner(bounds())
    joiner.close(T0 + LATENESS + 1)
    joiner.opened(opened(at=0))
    assert joiner.counts["n_late_opens"] == 1
    joiner.opened(opened(at=1))
    assert joiner.counts["n_late_opens"] == 1


def test_memory_is_bounded_however_much_comes() -> None:
    joiner = Joiner(bounds(max_open=10, max_opens=20, max_seen=30))
    for i in range(1_000):
        joiner.decided(shown(f"r{i}", at=i % 50))
        joiner.opened(opened(user=f"u{i % 40}", at=i % 50))
        if i % 100 == 0:
            joiner.close(T0)
    assert len(joiner.close(T0)) == 99  # closed early since it was last asked
    assert joiner.close(T0) == []  # and told once
    assert (joiner.n_open, joiner.n_opens, joiner.n_seen) == (10, 20, 30)
    assert 0 < joiner.n_users <= 20
    assert len(joiner.close(END)) == 10
    assert (joiner.n_open, joiner.n_opens, joiner.n_users, joiner.n_seen) == (0, 0, 0, 30)

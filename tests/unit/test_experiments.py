"""Experiments: who is in which arm, always the same, also when shares grow; and how likely that was."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstmile.names import CHALLENGER, CHAMPION
from serving.arms import RULES, Arm, Step, laid_out
from serving.buckets import N_PLACES, place
from serving.changes import moved
from serving.conditions import Check, Condition
from serving.experiments import HOLDOUT, Assignment, Experiment, Experiments, Holdout

USERS = [f"AAA_2014J-{n}" for n in range(4_000)]
PAGE = Condition((Check("request", "page", "in", frozenset({"/welcome"})),))


def arms(*sizes: int | tuple[int, ...]) -> tuple[Arm, ...]:
    """Arms a0, a1, … of these places; of a tuple, one step per µs from 0 on."""
    steps = [s if isinstance(s, tuple) else (s,) for s in sizes]
    found = [Arm(f"a{i}", CHAMPION, tuple(Step(t, n) for t, n in enumerate(s))) for i, s in enumerate(steps)]
    return laid_out(tuple(found))


def experiment(*sizes: int | tuple[int, ...], name: str = "e", when: Condition | None = None) -> Experiment:
    return Experiment(name, name, when or Condition(), arms(*sizes))


def arm_of(on: Experiments, user_id: str, now_us: int = 0, **request: str) -> str | None:
    found = on.assign(user_id, request, now_us=now_us)
    return found.arm if found.name else None


@pytest.mark.parametrize(
    ("seed", "value", "expected"),
    [
        ("seed", "a", 0.0505),
        ("seed", "b", 0.2696),
        ("foo", "ab", 0.2575),
        ("foo", "def", 0.2019),
        ("89123klj", "8952klfjas09ujkasdf", 0.124),
        ("90850943850283058242805", "123", 0.7516),
        ("()**(%$##$%#$#", '___)((*":&', 0.0128),
    ],
)
def test_places_are_those_growthbook_publishes(seed: str, value: str, expected: float) -> None:
    assert place(seed, value) / N_PLACES == expected


def test_users_are_where_they_were_yesterday() -> None:
    """A change here would move every user of every running experiment."""
    on = Experiments((experiment(5_000, 5_000, name="onboarding-v1"),), Holdout(RULES, 500))
    drawn = [arm_of(on, user) for user in ("u1", "u2", "u17", "u48", "AAA_2014J-101781", "Zoë", "用户", "🙂")]
    assert drawn == ["a1", "a0", "a0", "holdout", "a1", "a0", "a1", "a1"]


def test_arms_have_their_shares_and_nobody_is_in_two_places() -> None:
    on = Experiments((experiment(1_000, 3_000, 5_000),))
    counted = Counter(arm_of(on, user) for user in USERS)
    assert {a: round(n / len(USERS), 2) for a, n in counted.items()} == pytest.approx(
        {"a0": 0.1, "a1": 0.3, "a2": 0.5, None: 0.1}, abs=0.025
    )


def test_seeds_draw_independently() -> None:
    one, other = (Experiments((experiment(5_000, 5_000, name=name),)) for name in ("e1", "e2"))
    both = Counter((arm_of(one, user), arm_of(other, user)) for user in USERS)
    assert [n / len(USERS) for n in both.values()] == pytest.approx([0.25] * 4, abs=0.03)


shares = st.integers(1, 1_000)


@given(st.lists(st.tuples(shares, shares, shares), min_size=1, max_size=6))
@settings(deadline=None)
def test_steps_take_in_users_of_no_arm_and_move_none_between_arms(grown: list[tuple[int, int, int]]) -> None:
    sizes = [tuple(sum(g[: t + 1]) for t in range(3)) for g in grown]
    total = sum(s[-1] for s in sizes)
    sizes = [tuple(n * N_PLACES // total for n in s) for s in sizes] if total > N_PLACES else sizes
    sizes = [s for s in sizes if s[-1]]
    on = arms(*sizes)
    assert [tuple(len(arm.places(t)) for t in range(3)) for arm in on] == sizes
    for before, after in pairwise(range(3)):
        for arm in on:
            assert set(arm.places(before)) <= set(arm.places(after))
    taken = [p for arm in on for p in arm.places(2)]
    assert len(taken) == len(set(taken)) == sum(s[-1] for s in sizes)
    assert all(0 <= p < N_PLACES for p in taken)


@given(st.integers(1, N_PLACES - 1), st.integers(1, N_PLACES - 1), st.data())
def test_two_arms_grow_by_hand_as_they_like(first: int, second: int, data: st.DataObject) -> None:
    if first + second > N_PLACES:
        first, second = N_PLACES - first, N_PLACES - second
    more = data.draw(st.integers(first, N_PLACES - second))
    check_only_joined((first, second), (more, data.draw(st.integers(second, N_PLACES - more))))


@given(st.lists(st.integers(1, 500), min_size=3, max_size=5), st.integers(1, 4))
def test_many_arms_grow_by_hand_in_proportion(sizes: list[int], times: int) -> None:
    check_only_joined(tuple(sizes), tuple(n * times for n in sizes))


def check_only_joined(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    one, other = Experiments((experiment(*before),)), Experiments((experiment(*after),))
    assert moved(*one.experiments, *other.experiments, now_us=0) is None
    olds, news = one.experiments[0].arms, other.experiments[0].arms
    assert [len(arm.places(0)) for arm in (*olds, *news)] == [*before, *after]
    for old, new in zip(olds, news, strict=True):
        assert set(old.places(0)) <= set(new.places(0))


def test_growth_out_of_proportion_is_noticed() -> None:
    one, other = Experiments((experiment(1_000, 1_000, 1_000),)), Experiments((experiment(1_000, 1_000, 6_000),))
    assert moved(*one.experiments, *other.experiments, now_us=0) == ("a1", "a2")
    drawn = {(arm_of(one, user), arm_of(other, user)) for user in USERS}
    assert {pair for pair in drawn if None not in pair and pair[0] != pair[1]}


def test_steps_begin_at_their_moment() -> None:
    ramp = Arm("a", CHALLENGER, (Step(100, 1_000), Step(200, 9_000)))
    on = Experiments((Experiment("e", "e", Condition(), laid_out((ramp,))),))
    counts = [sum(arm_of(on, user, now_us=t) == "a" for user in USERS) for t in (99, 100, 199, 200)]
    assert counts[0] == 0
    assert counts[1] == counts[2] == pytest.approx(len(USERS) * 0.1, rel=0.2)
    assert counts[3] == pytest.approx(len(USERS) * 0.9, rel=0.05)


def test_only_whose_request_it_is_about_takes_part_and_the_first_that_fits_decides() -> None:
    on = Experiments((experiment(N_PLACES, name="welcome", when=PAGE), experiment(N_PLACES, name="rest")))
    assert on.assign("u1", {"page": "/welcome"}, now_us=0).name == "welcome"
    assert on.assign("u1", {"page": "/home"}, now_us=0).name == "rest"
    assert on.assign("u1", {}, now_us=0).name == "rest"
    assert Experiments(on.experiments[:1]).assign("u1", {}, now_us=0) == Assignment(None, CHAMPION)


def test_held_out_users_stay_so_whatever_experiments_there_are() -> None:
    held = Holdout(RULES, 1_000)
    drawn = [
        {user for user in USERS if on.assign(user, {}, now_us=0).name == HOLDOUT}
        for on in (Experiments((), held), Experiments((experiment(5_000, 5_000),), held))
    ]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == pytest.approx(len(USERS) * 0.1, rel=0.2)
    inside = Counter(arm_of(Experiments((experiment(5_000, 5_000),), held), user) for user in USERS)
    assert inside["a0"] == pytest.approx(inside["a1"], rel=0.1)


def test_propensities_of_all_ways_out_add_up_to_one_and_are_how_often_each_is_taken() -> None:
    on = Experiments((experiment(2_000, 3_000),), Holdout(RULES, 1_000))
    drawn = Counter(on.assign(user, {}, now_us=0) for user in USERS)
    assert {a.arm for a in drawn} == {HOLDOUT, "a0", "a1", CHAMPION}
    assert sum(a.propensity for a in drawn) == pytest.approx(1)
    for assignment, n in drawn.items():
        assert n / len(USERS) == pytest.approx(assignment.propensity, abs=0.02)

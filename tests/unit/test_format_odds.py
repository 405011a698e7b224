"""Thompson sampling over formats: chances, draws, what the arm shows and what is logged of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_builder import LEARNER, NOW_US, Row, Rows, catalogue, experiments, ladder

from feature_repo.content_stats import ContentStats
from feature_repo.fields import CONTENT_COUNTS
from firstmile.clock import MICROS_PER_DAY
from firstmile.names import FORMATS, STAGES
from serving.answers import Decision
from serving.arms import CHAMPION, THOMPSON
from serving.content_counts import Counted, shelf_odds
from serving.facts import Facts
from serving.format_odds import DRAWN, FormatOdds, chances, drawn_order, format_odds
from serving.order import RANKED, Order
from serving.requests import Ask

COURSE = "AAA_2014J"
SHELF = catalogue().shelves[COURSE]
SHELF_FORMATS = [FORMATS[code] for code in np.unique(SHELF.format)]
USERS = [f"AAA_2014J-{i}" for i in range(3_000)]
FACTS = Facts(features=LEARNER, profile={"cohort": COURSE})
STAGE = "active"
"""Of LEARNER."""


def odds(**by_format: tuple[float, float]) -> FormatOdds:
    """(opened, shown) by format, all of it by users in LEARNER's stage, at the format's first item."""
    opened, shown = (np.zeros((len(STAGES), len(SHELF.items))) for _ in range(2))
    for name, (n_opened, n_shown) in by_format.items():
        at = int(np.flatnonzero(SHELF.format == FORMATS.index(name))[0])
        opened[STAGES.index(STAGE), at], shown[STAGES.index(STAGE), at] = n_opened, n_shown
    return format_odds(SHELF, shown, opened)


def drawn(user_id: str, known: FormatOdds | None = None, *, now_us: int = NOW_US, facts: Facts = FACTS) -> Order:
    return drawn_order(known, SHELF, facts, user_id=user_id, now_us=now_us)


def decide(user_id: str, known: FormatOdds | None, *, kind: str = THOMPSON, row: Row | None = None) -> Decision:
    given_: Mapping[str, FormatOdds] = {} if known is None else {COURSE: known}
    on = ladder(Rows({user_id: row or Row()}), drawn_from=experiments(kind), odds=lambda: given_)
    return asyncio.run(on.decide(Ask(user_id, limit=10), started_s=time.perf_counter()))


def test_chances_are_those_of_the_beta_distributions() -> None:
    # P(Beta(2, 1) > Beta(1, 1)) = 2/3, and of Beta(a, 1) over Beta(b, 1) a / (a + b)
    assert chances((1.0, 0.0), (1.0, 0.0))[0] == pytest.approx(2 / 3, abs=0.03)
    assert chances((3.0, 1.0), (3.0, 1.0))[0] == pytest.approx(4 / 6, abs=0.03)
    assert chances((0.0,) * 4, (0.0,) * 4) == pytest.approx((0.25,) * 4, abs=0.03)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_chances_add_up_to_one_whatever_was_counted(counts: list[tuple[int, int]]) -> None:
    shown = tuple(float(a + b) for a, b in counts)
    found = chances(tuple(float(a) for a, _ in counts), shown)
    assert sum(found) == pytest.approx(1)
    assert all(0 <= p <= 1 for p in found)


def test_opens_of_what_was_never_shown_count_for_nothing() -> None:
    assert np.array_equal(odds(lesson=(5_000, 0)).chance, odds().chance)


def test_formats_are_drawn_as_often_as_their_chance_and_that_is_what_is_logged() -> None:
    known = odds(lesson=(40, 100), community=(36, 100), document=(30, 100), guide=(10, 100))
    orders = [drawn(user, known) for user in USERS]
    by_reason = Counter(order.reason for order in orders)
    chance = dict(zip(SHELF_FORMATS, known.chance[STAGES.index(STAGE)], strict=True))
    assert 0.05 < chance["community"] < chance["lesson"]
    for order in orders:
        assert order.propensity == chance[order.reason.removeprefix(f"{DRAWN}:")]
    for name, p in chance.items():
        assert by_reason[f"{DRAWN}:{name}"] / len(USERS) == pytest.approx(p, abs=0.03)


def test_every_item_of_the_format_and_no_other_comes_first_as_the_ranker_had_them() -> None:
    order = drawn(USERS[0])
    code = FORMATS.index(order.reason.removeprefix(f"{DRAWN}:"))
    assert np.array_equal(order.items, np.flatnonzero(SHELF.format == code))
    assert not order.scores.any()
    last = order.items[-1]
    ranked = replace(FACTS, order=Order(np.array([last]), np.array([0.7], np.float32), RANKED))
    again = drawn(USERS[0], facts=ranked)
    assert again.items[again.scores.argmax()] == last


def test_a_user_keeps_the_format_all_day_and_may_have_another_one_tomorrow() -> None:
    midnight = NOW_US - NOW_US % MICROS_PER_DAY
    moments = [midnight, midnight + MICROS_PER_DAY // 2, midnight + MICROS_PER_DAY - 1]
    assert len({drawn(USERS[1], now_us=at).reason for at in moments}) == 1
    assert len({drawn(USERS[1], now_us=midnight + n * MICROS_PER_DAY).reason for n in range(20)}) > 2


def test_what_is_known_of_one_stage_says_nothing_of_another() -> None:
    known = odds(lesson=(90, 100), community=(1, 100))
    lesson = SHELF_FORMATS.index("lesson")
    assert known.chance[STAGES.index(STAGE), lesson] > 0.8
    assert known.chance[STAGES.index("new"), lesson] == pytest.approx(1 / len(SHELF_FORMATS), abs=0.03)


def test_it_finds_the_best_format_while_it_shows_it_more_and_more() -> None:
    truth = {name: 0.1 + 0.1 * at for at, name in enumerate(SHELF_FORMATS)}
    rng, counts = np.random.default_rng(5), {name: [0.0, 0.0] for name in SHELF_FORMATS}
    n_best = []
    for day in range(12):
        known, n = odds(**{name: (o, s) for name, (o, s) in counts.items()}), 0
        for user in USERS[:200]:
            name = drawn(user, known, now_us=NOW_US + day * MICROS_PER_DAY).reason.removeprefix(f"{DRAWN}:")
            counts[name][0] += float(rng.random() < truth[name])
            counts[name][1] += 1
            n += name == SHELF_FORMATS[-1]
        n_best.append(n / 200)
    assert n_best[0] < 0.4
    assert np.mean(n_best[-4:]) > 0.8


def test_statistics_by_segment_become_odds() -> None:
    def counted(n_opened: int, n_shown: int) -> Counted:
        counts = dict.fromkeys(CONTENT_COUNTS, 0) | {"n_opened": n_opened, "n_shown": n_shown}
        return Counted.of(ContentStats("c", NOW_US, {f"unknown/{STAGE}": counts}, None))

    lesson, other = (int(np.flatnonzero(SHELF.format == FORMATS.index(f))[0]) for f in ("lesson", "community"))
    known = shelf_odds(
        SHELF, {SHELF.items[lesson].content_id: counted(40, 100), SHELF.items[other].content_id: counted(30, 100)}
    )
    assert np.array_equal(known.chance, odds(lesson=(40, 100), community=(30, 100)).chance)


def test_the_arm_shows_the_drawn_format_first_and_says_so() -> None:
    decision = decide(USERS[0], odds(lesson=(95, 100), community=(1, 100), document=(1, 100)))
    answer, record = decision.response(), decision.record(worker="w", sequence=1)
    assert (answer["rung"], answer["fallback"], answer["experiment"]["arm"]) == ("model", False, THOMPSON)
    assert record["order_reason"] == f"{DRAWN}:lesson"
    assert 0.5 < record["order_propensity"] < 1
    assert any(item["reason"].endswith(f"{DRAWN}:lesson") for item in answer["recommended_content"])
    assert answer["models"].keys() == decide(USERS[0], None, kind=CHAMPION).response()["models"].keys()


def test_other_arms_draw_nothing() -> None:
    record = decide(USERS[0], odds(lesson=(95, 100)), kind=CHAMPION).record(worker="w", sequence=1)
    assert not record["order_reason"].startswith(DRAWN)
    assert record["order_propensity"] == 1.0


def test_who_is_new_and_what_was_never_counted_draw_too() -> None:
    cold = Row({}, {"cohort": COURSE}, row_version_us=None)
    reasons = Counter(
        decide(user, None, row=cold).record(worker="w", sequence=1)["order_reason"] for user in USERS[:60]
    )
    assert set(reasons) == {f"{DRAWN}:{name}" for name in SHELF_FORMATS}

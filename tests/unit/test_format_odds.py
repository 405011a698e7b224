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
from firstmile.names import STAGES
from firstmile.vocabulary import FORMATS
from serving.answers import Decision
from serving.arms import CHAMPION, THOMPSON
from serving.conditions import Condition
from serving.content_counts import Counted, shelf_odds
from serving.facts import Facts, nothing_seen
from serving.format_odds import FormatOdds, chances, draw, format_odds
from serving.order import DRAWN, RANKED, Draw, Order
from serving.ranking import Taste, rank
from serving.requests import Ask
from serving.rules import Rule
from serving.selector import Selector, selection

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


def of(known: FormatOdds, *left: str, stage: str = STAGE) -> dict[str, float]:
    """Chances by format."""
    codes = [FORMATS.index(name) for name in left or SHELF_FORMATS]
    return {FORMATS[code]: p for code, p in known.chances(STAGES.index(stage), codes).items()}


def drawn(user_id: str, known: FormatOdds | None = None, *, now_us: int = NOW_US, facts: Facts = FACTS) -> Draw:
    found = draw(known, SHELF, facts, user_id=user_id, now_us=now_us)
    assert found is not None
    return found


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
    assert len(found) == len(counts)
    assert all(0 <= p <= 1 for p in found)


def test_opens_of_what_was_never_shown_count_for_nothing() -> None:
    assert odds(lesson=(5_000, 0)) == odds()


def test_formats_are_drawn_as_often_as_their_chance_and_that_is_what_is_logged() -> None:
    known = odds(lesson=(40, 100), community=(36, 100), document=(30, 100), guide=(10, 100))
    draws = [drawn(user, known) for user in USERS]
    by_format = Counter(one.format for one in draws)
    chance = of(known)
    assert 0.05 < chance["community"] < chance["lesson"]
    for one in draws:
        assert one.propensity == pytest.approx(chance[one.format])
    for name, p in chance.items():
        assert by_format[name] / len(USERS) == pytest.approx(p, abs=0.03)


@pytest.mark.parametrize("flow", ["guided", "balanced", "tailored"])
@pytest.mark.parametrize("is_ranked", [True, False])
def test_all_of_the_format_comes_first_and_the_order_stays_within_it_and_after_it(flow: str, is_ranked: bool) -> None:
    items = np.array([150, 3, 60, 7])
    order = Order(items, np.array([0.9, 0.8, 0.7, 0.6], np.float32), RANKED) if is_ranked else None
    taste = Taste({"document": 0.9, "community": 0.1}, "beginner", flow)
    plain = rank(SHELF, taste, [], seen=nothing_seen, limit=500, order=order)
    found = rank(SHELF, taste, [], seen=nothing_seen, limit=500, order=order, drawn=Draw("community", 0.2))
    n = sum(item.format == "community" for item in SHELF.items)
    assert 0 < n < len(found) == len(plain)
    assert [item.content.format for item in found[:n]] == ["community"] * n
    for part in (found[:n], found[n:]):
        own = {item.content.content_id for item in part}
        assert [item.content for item in part] == [i.content for i in plain if i.content.content_id in own]
    assert all(item.reason.startswith(f"{DRAWN}:community") for item in found[:n])
    assert not any(DRAWN in item.reason for item in found[n:])
    if is_ranked:
        n_others = int((SHELF.format[items] != FORMATS.index("community")).sum())
        assert [item.reason for item in found[n:]].count(RANKED) == n_others


def test_rules_come_before_what_was_drawn() -> None:
    lessons = Selector(formats=("lesson",))
    rule = Rule("lessons", Condition(), prioritise=lessons, require=None, exclude=None, pin=None, flow=None)
    taste = Taste({"document": 0.9}, "beginner", "guided")
    chosen = [(rule, {lessons: selection(SHELF, lessons)})]
    found = rank(SHELF, taste, chosen, seen=nothing_seen, limit=3, drawn=Draw("community", 0.2))
    assert [item.reason for item in found] == ["rule:lessons"] * 3


def test_a_format_of_which_nothing_is_left_is_not_drawn_and_the_others_chances_grow() -> None:
    known = odds(lesson=(95, 100), community=(30, 100), document=(29, 100), guide=(1, 100))
    lesson = SHELF.format == FORMATS.index("lesson")
    done = replace(FACTS, seen=lambda hashes: np.isin(hashes, SHELF.hashes[lesson]))
    draws = [drawn(user, known, facts=done) for user in USERS[:200]]
    chance = {one.format: one.propensity for one in draws}
    assert chance == {name: p for name, p in of(known, "community", "document", "guide").items() if p}
    assert 0.3 < chance["document"] < chance["community"]
    done = replace(FACTS, seen=lambda hashes: np.ones(len(hashes), bool))
    assert draw(known, SHELF, done, user_id="u", now_us=NOW_US) is None


def test_a_user_keeps_the_format_all_day_and_may_have_another_one_tomorrow() -> None:
    midnight = NOW_US - NOW_US % MICROS_PER_DAY
    moments = [midnight, midnight + MICROS_PER_DAY // 2, midnight + MICROS_PER_DAY - 1]
    assert len({drawn(USERS[1], now_us=at) for at in moments}) == 1
    assert len({drawn(USERS[1], now_us=midnight + n * MICROS_PER_DAY).format for n in range(20)}) > 2


def test_what_is_known_of_one_stage_says_nothing_of_another() -> None:
    known = odds(lesson=(90, 100), community=(1, 100))
    assert of(known)["lesson"] > 0.7
    assert of(known, stage="new")["lesson"] == pytest.approx(1 / len(SHELF_FORMATS), abs=0.03)


def test_it_finds_the_best_format_while_it_shows_it_more_and_more() -> None:
    truth = {name: 0.1 + 0.1 * at for at, name in enumerate(SHELF_FORMATS)}
    rng, counts = np.random.default_rng(5), {name: [0.0, 0.0] for name in SHELF_FORMATS}
    n_best = []
    for day in range(12):
        known, n = odds(**{name: (o, s) for name, (o, s) in counts.items()}), 0
        for user in USERS[:200]:
            name = drawn(user, known, now_us=NOW_US + day * MICROS_PER_DAY).format
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
    assert known == odds(lesson=(40, 100), community=(30, 100))


def test_the_arm_shows_the_drawn_format_first_and_says_so() -> None:
    decision = decide(USERS[0], odds(lesson=(95, 100), community=(1, 100), document=(1, 100)))
    answer, record = decision.response(), decision.record(worker="w", sequence=1)
    assert (answer["rung"], answer["fallback"], answer["experiment"]["arm"]) == ("model", False, THOMPSON)
    assert record["drawn_format"] == "lesson"
    assert 0.5 < record["drawn_propensity"] < 1
    assert any(item["reason"].endswith(f"{DRAWN}:lesson") for item in answer["recommended_content"])
    assert answer["models"].keys() == decide(USERS[0], None, kind=CHAMPION).response()["models"].keys()


def test_other_arms_draw_nothing() -> None:
    record = decide(USERS[0], odds(lesson=(95, 100)), kind=CHAMPION).record(worker="w", sequence=1)
    assert (record["drawn_format"], record["drawn_propensity"]) == ("", 1.0)


def test_who_is_new_and_what_was_never_counted_draw_too() -> None:
    cold = Row({}, {"cohort": COURSE}, row_version_us=None)
    records = [decide(user, None, row=cold).record(worker="w", sequence=1) for user in USERS[:60]]
    assert {record["drawn_format"] for record in records} == set(SHELF_FORMATS)

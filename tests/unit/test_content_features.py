"""What the content ranker sees, against counts by hand: a standing, candidates, vectors; one user as among many."""

from typing import Any

import numpy as np
import pytest
from events_builder import T0, Event, examples, fold_one, with_ids
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import distinct
from feature_repo.content_features import (
    MAX_CANDIDATES,
    NEIGHBOURS,
    RANKER_FEATURES,
    READ,
    USER_FEATURES,
    candidates,
    ranker_features,
)
from feature_repo.content_standing import FEEDBACK_WEIGHT, RECENT_DAYS, Standing, standing
from feature_repo.distinct import content_hash, seen_matrix
from feature_repo.fields import CONTENT_COUNTS
from feature_repo.windows import FEATURE_NAMES
from firstmile.names import STAGES
from firstmile.vocabulary import FORMATS

LESSON, QUIZ, VIDEO = (FORMATS.index(name) for name in ("lesson", "quiz", "video"))


def shelf(opened: list[float], formats: list[int] | None = None, **changed: Any) -> Standing:
    """A standing of items opened so often, on nobody's particular stage; `changed` holds counts by name."""
    n = len(opened)
    given = {name: np.array(values, float) for name, values in changed.items() if name in CONTENT_COUNTS}
    counts = {**dict.fromkeys(CONTENT_COUNTS, np.zeros(n)), "n_opened": np.array(opened, float), **given}
    return standing(
        np.array(formats or [LESSON] * n, np.int64),
        counts,
        opened_in_stage=changed.get("in_stage", np.zeros((len(STAGES), n))),
        opened_earlier=changed.get("earlier", dict.fromkeys(RECENT_DAYS, np.zeros(n))),
    )


def users(n: int = 1, **changed: Any) -> dict[str, np.ndarray]:
    """Features of users, 0 unless said."""
    return {name: np.broadcast_to(np.array(changed.get(name, 0.0), float), (n,)) for name in READ}


def vector(of: Standing, item: int, seen: list[int] | tuple[int, ...] = (), **features: float) -> dict[str, float]:
    """Of one user who has seen some items, and one item."""
    mask = np.zeros((1, of.n_items), bool)
    mask[0, list(seen)] = True
    x = ranker_features(of, users(**features), mask, user=np.array([0]), item=np.array([item]))
    return dict(zip(RANKER_FEATURES, x[0].tolist(), strict=True))


def test_every_feature_read_is_a_window_of_the_row() -> None:
    assert len(READ) > len(FORMATS)
    assert set(READ) <= set(FEATURE_NAMES)


def test_popularity_is_a_share_so_that_a_large_course_looks_like_a_small_one() -> None:
    small, large = shelf([1, 3, 0]), shelf([10, 30, 0])
    assert small.popularity.tolist() == large.popularity.tolist() == [0.25, 0.75, 0.0]


def test_a_shelf_nobody_opened_knows_nothing() -> None:
    cold = shelf([0, 0])
    for counted, shape in (
        (cold.popularity, (2,)),
        (cold.in_stage, (len(STAGES), 2)),
        (cold.recent, (len(RECENT_DAYS), 2)),
        (cold.rates, (4, 2)),
    ):
        assert counted.shape == shape
        assert np.isnan(counted).all()
    assert candidates(cold, np.zeros((1, 2), bool))[1].tolist() == [0, 1]  # the catalogue's order is left


def test_a_helpful_verdict_is_worth_its_weight_in_openings_and_an_unhelpful_one_costs_it() -> None:
    helpful = shelf([10, 10, 10], n_helpful=[0, 2, 0], n_unhelpful=[0, 0, 1])
    same = shelf([10, 10 + 2 * FEEDBACK_WEIGHT, 10 - FEEDBACK_WEIGHT])
    assert helpful.popularity.tolist() == same.popularity.tolist()
    assert candidates(helpful, np.zeros((1, 3), bool))[1].tolist() == [1, 0, 2]


def test_more_verdicts_against_an_item_than_openings_make_it_unpopular_not_less_than_nothing() -> None:
    assert shelf([1, 1], n_unhelpful=[9, 0]).popularity.tolist() == [0.0, 1.0]


def test_rates_are_missing_where_nothing_was_counted() -> None:
    rates = shelf(
        [4, 0, 2], opened_weight=[12, 0, 2], n_completed=[1, 0, 0], n_shown=[8, 5, 0], n_skipped=[2, 5, 0]
    ).rates
    assert rates[:, 0].tolist() == [3.0, 0.25, 0.5, 0.25]
    assert np.isnan(rates[:2, 1]).all()
    assert rates[2:, 1].tolist() == [0.0, 1.0]
    assert np.isnan(rates[2:, 2]).all()


def test_recent_openings_are_those_since_the_earlier_count() -> None:
    day, week = shelf([10, 10], earlier={1: np.array([10.0, 6.0]), 7: np.array([7.0, 0.0])}).recent
    assert day.tolist() == [0.0, 1.0]
    assert week.tolist() == pytest.approx([3 / 13, 10 / 13])
    unknown = shelf([10, 10], earlier={1: np.full(2, np.nan), 7: np.zeros(2)}).recent
    assert np.isnan(unknown).tolist() == [[True, True], [False, False]]


def test_a_stage_says_what_its_users_opened_and_a_rare_one_what_all_say() -> None:
    in_stage = np.zeros((len(STAGES), 2))
    in_stage[STAGES.index("active")] = [0, 1_000_000]
    of = shelf([3, 1], in_stage=in_stage)
    active = vector(of, 1, clicks_total_count=5.0)["popularity_in_stage"]
    new = vector(of, 1, clicks_total_count=1.0)["popularity_in_stage"]
    assert active == pytest.approx(1.0, abs=1e-3)
    assert new == pytest.approx(0.25)


def test_affinity_and_what_is_seen_are_of_the_item_s_format() -> None:
    of = shelf([1, 1, 1, 1], [LESSON, LESSON, QUIZ, VIDEO])
    opens = {"opens_lesson": 3.0, "opens_quiz": 1.0}
    lesson, quiz, video = (vector(of, item, seen=[0], **opens) for item in (1, 2, 3))
    assert [v["format"] for v in (lesson, quiz, video)] == [LESSON, QUIZ, VIDEO]
    assert [v["format_affinity"] for v in (lesson, quiz, video)] == [0.75, 0.25, 0.0]
    assert [v["format_seen"] for v in (lesson, quiz, video)] == [0.5, 0.0, 0.0]
    assert lesson["shelf_seen"] == 0.25
    assert np.isnan(vector(of, 1)["format_affinity"])  # who has opened nothing has no taste yet


@examples(60)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.data())
def test_neighbours_are_counted_as_by_hand(seen: list[bool], data: st.DataObject) -> None:
    n, item = len(seen), data.draw(st.integers(0, len(seen) - 1))
    found = vector(shelf([1.0] * n), item, seen=[i for i, s in enumerate(seen) if s])
    before, after = seen[max(item - NEIGHBOURS, 0) : item], seen[item + 1 : item + 1 + NEIGHBOURS]
    furthest = max((i for i, s in enumerate(seen) if s), default=None)
    expected = {
        "seen_before": sum(before) / len(before) if before else np.nan,
        "seen_after": sum(after) / len(after) if after else np.nan,
        "beyond_furthest": np.nan if furthest is None else (item - furthest) / max(n - 1, 1),
        "position": item / max(n - 1, 1),
    }
    assert {k: found[k] for k in expected} == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_the_user_s_own_features_are_passed_through() -> None:
    found = vector(shelf([1.0]), 0, **{name: float(i + 1) for i, name in enumerate(USER_FEATURES)})
    assert [found[name] for name in USER_FEATURES] == [1.0, 2.0, 3.0, 4.0, 5.0]


@examples(40)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 130))
def test_a_user_alone_gets_the_candidates_and_the_vectors_they_get_among_many(seed: int, n: int, n_items: int) -> None:
    rng = np.random.default_rng(seed)
    opened = rng.integers(0, 9, n_items).astype(float)
    of = shelf(opened.tolist(), rng.integers(0, len(FORMATS), n_items).tolist(), n_shown=opened + 1)
    many = {name: rng.integers(0, 12, n).astype(float) for name in READ}
    seen = rng.random((n, n_items)) < rng.random()
    user, item = candidates(of, seen)
    x = ranker_features(of, many, seen, user=user, item=item)
    for u in range(n):
        one = {name: values[[u]] for name, values in many.items()}
        alone, items = candidates(of, seen[[u]])
        assert items.tolist() == item[user == u].tolist()
        assert np.array_equal(ranker_features(of, one, seen[[u]], user=alone, item=items), x[user == u], equal_nan=True)


@examples(60)
@given(st.integers(0, 2**32))
def test_candidates_are_the_most_popular_of_what_is_not_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    opened = rng.integers(0, 30, MAX_CANDIDATES + 40).astype(float)
    seen = rng.random((3, len(opened))) < rng.choice([0.0, 0.1, 0.9, 1.0], 3)[:, None]
    user, item = candidates(shelf(opened.tolist()), seen)
    for u in range(3):
        unseen = sorted((i for i in range(len(opened)) if not seen[u, i]), key=lambda i: (-opened[i], i))
        assert item[user == u].tolist() == unseen[:MAX_CANDIDATES]


@pytest.mark.parametrize("n", [0, 3, 64, 65, 120])
def test_seen_is_what_the_row_says_of_each_item(n: int) -> None:
    events = [Event(T0 + i, u, "content_open", content=f"{i}") for u in (0, 2) for i in range(n if u else 2)]
    rows = fold_one(with_ids(events), n_users=3)
    hashes = content_hash([f"{i}" for i in range(200)] + ["0"])
    found = seen_matrix(rows.contents, hashes, rows.n_rows)
    assert found.tolist() == [distinct.contains(rows.contents, row, hashes).tolist() for row in range(3)]
    assert found[2, :n].all()
    assert not found[1].any()
    assert seen_matrix(rows.contents, hashes[:0], 3).shape == (3, 0)

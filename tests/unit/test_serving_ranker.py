"""The ranker in serving, and what is popular without it: vectors as in training, rules over them, reasons, rungs."""

import asyncio
import functools
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from online_rows import packed_user
from serving_builder import LEARNER, NOW_US, Broken, Row, Rows, catalogue, ladder, model, models
from test_decision_replay import again, logged

from feature_repo.activity import windows
from feature_repo.content_earlier import unpack_openings
from feature_repo.content_features import MAX_CANDIDATES, RANKER_FEATURES
from feature_repo.content_segments import unpack_segments
from feature_repo.content_standing import RECENT_DAYS, Standing
from feature_repo.content_stats import ContentStats
from feature_repo.fields import BY_SEGMENT, CONTENT_COUNTS, OPENINGS
from feature_repo.row import unpack_rows
from firstmile.clock import MICROS_PER_DAY
from firstmile.names import RANKER
from firstmile.vocabulary import FORMATS, MODELS
from pipelines.content_tiles import content_history
from serving.answers import Decision
from serving.catalogue import Shelf
from serving.content_counts import Counted, shelf_standing
from serving.facts import Facts
from serving.features import Reading, instant_us
from serving.models import ScoringModel, prepare
from serving.order import RANKED
from serving.ranker import vectors
from serving.requests import Ask
from training.ranking_offer import offered

USER = "AAA_2014J-1"
COURSE = "AAA_2014J"
SHELF = catalogue().shelves[COURSE]


@functools.cache
def ranker_booster() -> xgb.Booster:
    """More popular in the last week, higher."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (400, len(RANKER_FEATURES)))
    y = x[:, RANKER_FEATURES.index("popularity_7d")]
    data = xgb.DMatrix(x, y > 0.7, qid=np.repeat(np.arange(8), 50), feature_names=list(RANKER_FEATURES), nthread=1)
    return xgb.train({"objective": "rank:ndcg", "max_depth": 3, "nthread": 1, "seed": 0}, data, 10)


def ranker(**changes: Any) -> ScoringModel:
    made = ScoringModel(RANKER, "4", "run-4", prepare(ranker_booster()), RANKER_FEATURES)
    return ScoringModel(**{**made.__dict__, **changes})


def counted(n_opened: int, n_earlier: int = 0, *, stage: str = "new") -> Counted:
    counts = [0] * len(CONTENT_COUNTS)
    counts[CONTENT_COUNTS.index("n_opened")] = n_opened
    segments = {f"unknown/{stage}": dict(zip(CONTENT_COUNTS, counts, strict=True))}
    history = [(NOW_US - 30 * MICROS_PER_DAY, n_earlier), (NOW_US, n_opened)]
    return Counted.of(ContentStats("c", NOW_US, segments, history))


def standings(shelf: Shelf = SHELF, **by_place: Counted) -> Mapping[str, Standing]:
    """Of one shelf, by place: `at3=counted(5)`; the others were opened once, long ago."""
    given_ = {int(name.removeprefix("at")): one for name, one in by_place.items()}
    all_ = {item.content_id: given_.get(at, counted(1, 1)) for at, item in enumerate(shelf.items)}
    found = shelf_standing(shelf, all_, instant_us(NOW_US))
    assert found is not None
    return {shelf.cohort: found}


def decide(row: Row, known: Mapping[str, Standing], in_use: Any = None, **settings: Any) -> Decision:
    given_ = {**models(), RANKER: ranker()} if in_use is None else in_use
    on = ladder(Rows({USER: row}), given_, standings=lambda: known, **settings)
    return asyncio.run(on.decide(Ask(USER, limit=50), started_s=time.perf_counter()))


def places(decision: Decision, shelf: Shelf = SHELF) -> list[int]:
    ids = [item.content_id for item in shelf.items]
    return [ids.index(item.content.content_id) for item in decision.answer.items]


def test_the_ranker_s_order_is_the_answer_s_within_what_rules_ask_for() -> None:
    known = standings(at150=counted(60, 1), at151=counted(50, 1), at0=counted(500, 500))
    decision = decide(Row(), known)
    answer = decision.response()
    assert (answer["rung"], answer["reasons"], answer["models"][RANKER]) == ("model", [], "4")
    item, x = vectors(SHELF, known[COURSE], Facts(features=LEARNER))
    score = dict(zip(item.tolist(), ranker_booster().inplace_predict(x).tolist(), strict=True))
    by_reason: dict[str, list[float]] = {}
    for at, shown in zip(places(decision), decision.answer.items, strict=True):
        if at in score:
            by_reason.setdefault(shown.reason, []).append(score[at])
    assert all(reason.endswith(RANKED) for reason in by_reason)
    assert all(within == sorted(within, reverse=True) for within in by_reason.values())
    assert max(map(len, by_reason.values())) > 10
    without = decide(Row(), known, models())
    assert places(without) != places(decision)


def test_at_most_a_hundred_candidates_and_none_that_is_done_are_ranked() -> None:
    opened = [item.content_id for item in SHELF.items[:10]]
    facts = Reading(Row(opened=opened), 0.0).facts({})
    item, x = vectors(SHELF, standings(at150=counted(60))[COURSE], facts)
    assert len(item) == len(x) == MAX_CANDIDATES
    assert not set(item.tolist()) & set(range(10))
    assert item[0] == 150


def test_what_lacks_a_prerequisite_is_no_candidate() -> None:
    general = catalogue().shelves[""]
    item, _ = vectors(general, standings(general)[""], Facts())
    assert {general.items[at].content_id for at in item} == {i.content_id for i in general.items if not i.prerequisites}


def test_without_statistics_of_the_shelf_the_ranker_is_not_asked_and_that_is_said() -> None:
    answer = decide(Row(), {}).response()
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("model", False, ["cold_start:content_ranker"])
    assert RANKER not in answer["models"]


def test_a_user_younger_than_the_ranker_was_taught_is_not_ranked() -> None:
    young = {**models(), RANKER: ranker(min_onboarding_days=7.0)}
    decision = decide(Row(), standings(), young)
    assert (decision.basis.rung, decision.basis.reasons) == ("model", ("cold_start:content_ranker",))


def test_without_a_ranker_everything_is_as_before() -> None:
    before, after = decide(Row(), {}, models()), decide(Row(), standings(), models())
    assert before.answer == after.answer
    assert after.basis.reasons == ()


def test_a_ranker_alone_is_no_model_to_answer_with() -> None:
    decision = decide(Row(), standings(), {RANKER: ranker()})
    assert (decision.basis.rung, decision.basis.reasons) == ("rules", ("no_model",))


def test_a_ranker_that_raises_or_hangs_costs_its_order_and_not_the_answer() -> None:
    broken = {**models(), RANKER: ranker(booster=Broken(ValueError("bad tree")))}
    decision = decide(Row(), standings(), broken)
    assert (decision.basis.rung, decision.basis.reasons) == ("partial", ("model_failed:content_ranker",))
    assert set(decision.basis.models) == set(MODELS)
    gate = threading.Event()
    try:
        hung = {**models(), RANKER: ranker(booster=Broken(gate=gate))}
        late = decide(Row(), standings(), hung, model_timeout_ms=300.0)
    finally:
        gate.set()
    assert (late.basis.rung, late.basis.reasons) == ("partial", ("model_late:content_ranker",))
    assert late.answer == decision.answer


def test_without_an_answer_of_the_models_the_ranker_is_not_asked() -> None:
    failing = {n: model(n, booster=Broken(ValueError("no score"))) for n in MODELS}
    decision = decide(Row(), standings(), {**failing, RANKER: ranker()})
    assert decision.basis.rung == "rules"
    assert set(decision.basis.reasons) == {f"model_failed:{n}" for n in MODELS}
    assert "ranker" not in decision.stage_ms


def test_a_ranked_answer_comes_out_the_same_from_its_record() -> None:
    record = logged(decide(Row(opened=["877037"]), standings(at150=counted(60))))
    assert len(record["order_items"]) == MAX_CANDIDATES
    assert again(record, {**models(), RANKER: ranker()}) == {}


def test_who_has_done_nothing_is_shown_what_new_users_open_most() -> None:
    known = standings(at20=counted(90), at30=counted(70), at40=counted(800, stage="activated"))
    cold = Row({}, {"cohort": COURSE}, row_version_us=None)
    decision = decide(cold, known)
    assert (decision.basis.rung, decision.is_fallback, decision.basis.reasons) == ("rules", False, ("cold_start",))
    guided = [at for at in (20, 30) if SHELF.items[at].format in ("video", "lesson", "guide")]
    rest = [at for at in (20, 30) if at not in guided]
    found = places(decision)
    assert found[: len(guided)] == guided
    assert [at for at in found if SHELF.items[at].format not in ("video", "lesson", "guide")][: len(rest)] == rest
    reasons = [item.reason for item in decision.answer.items]
    assert len(reasons) == 50
    assert all(reason.endswith("popular:new") for reason in reasons)
    assert again(logged(decision), {}) == {}


def test_a_user_nobody_has_heard_of_gets_the_general_catalogue_by_what_is_popular() -> None:
    general = catalogue().shelves[""]
    tips = [i.content_id for i in general.items].index("plan-your-week")
    on = ladder(Rows(), {}, standings=lambda: standings(general, **{f"at{tips}": counted(90)}))
    ask = Ask("nobody", context={"page": "/welcome"})
    answer = asyncio.run(on.decide(ask, started_s=time.perf_counter())).response()
    shown = [(i["content_id"], i["reason"]) for i in answer["recommended_content"]]
    assert shown[:3] == [
        ("accept-terms", "rule:terms-first"),
        ("welcome-tour", "rule:welcome-page"),
        ("plan-your-week", "rule:beginner-first+popular:new"),
    ]


def test_a_shelf_of_which_nothing_is_known_is_in_the_catalogue_s_order_for_who_is_new() -> None:
    cold = Row({}, {"cohort": COURSE}, row_version_us=None)
    answer = decide(cold, {}).answer
    assert answer == decide(cold, {}, {}).answer
    assert len(answer.items) == 50
    assert not any("popular" in item.reason for item in answer.items)


days = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from(["unknown/new", "beginner/active"]), st.integers(0, 12)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=25, deadline=None)
@given(days, st.lists(st.integers(0, 200), max_size=80), st.integers(0, 20))
def test_vectors_are_those_of_training_at_the_same_instant(
    tiles: list[tuple[int, str, int]], opened: list[int], minutes: int
) -> None:
    now_us = instant_us(NOW_US + minutes * 60_000_000)
    ids = [item.content_id for item in SHELF.items]
    history = content_history(tile_frame(tiles, ids, last_day=now_us // MICROS_PER_DAY, now_us=now_us))
    packed = packed_user(USER, now_us=now_us, opens=[(ids[at], SHELF.items[at].format) for at in opened])
    pages = pd.DataFrame({"content_id": ids, "format": [FORMATS.index(i.format) for i in SHELF.items]})
    expected = offered([packed], pages, as_of(history, ids, now_us), now_us)

    newest = history.drop_duplicates("content_id", keep="last")
    online = {row["content_id"]: Counted.of(stats_of(row)) for row in newest.to_dict("records")}
    found = shelf_standing(SHELF, online, now_us)
    assert found is not None
    rows = unpack_rows([packed])
    values = {name: float(v[0]) for name, v in windows(rows, np.array([now_us])).items()}
    row = Row({n: None if np.isnan(v) else v for n, v in values.items()}, opened=[ids[at] for at in opened])
    item, x = vectors(SHELF, found, Reading(row, 0.0).facts({}))
    assert item.tolist() == expected.item.tolist()
    np.testing.assert_array_equal(x, expected.x)


def tile_frame(tiles: list[tuple[int, str, int]], ids: list[str], *, last_day: int, now_us: int) -> pd.DataFrame:
    """Day tiles, days ago given; what was received late in a day but before now."""
    rows = {}
    for n, (at, segment, ago) in enumerate(tiles):
        day = last_day - ago
        received_us = min(day * MICROS_PER_DAY + MICROS_PER_DAY - 1 - n, now_us)
        counts = dict.fromkeys(CONTENT_COUNTS, n % 3) | {"n_opened": n % 5 + 1, "n_shown": 9, "opened_weight": 7}
        key = {"content_id": ids[at % len(ids)], "segment": segment, "day": day}
        rows[tuple(key.values())] = {**key, **counts, "received_us": received_us}
    return pd.DataFrame(list(rows.values()))


def as_of(history: pd.DataFrame, ids: list[str], now_us: int) -> pd.DataFrame:
    """The last row known by each instant, as the offline store answers it."""
    known_us = history["event_timestamp"].astype("datetime64[us, UTC]").astype(np.int64)
    parts = []
    for days_ago in (0, *RECENT_DAYS):
        then_us = now_us - days_ago * MICROS_PER_DAY
        last = history[known_us <= then_us].drop_duplicates("content_id", keep="last").set_index("content_id")
        parts.append(last.reindex(ids)[[*CONTENT_COUNTS, BY_SEGMENT]].assign(now_us=then_us))
    return pd.concat(parts).rename_axis("content_id").set_index("now_us", append=True)


def stats_of(row: Mapping[str, Any]) -> ContentStats:
    return ContentStats(row["content_id"], 1, unpack_segments(row[BY_SEGMENT]), unpack_openings(row[OPENINGS]))


@pytest.mark.parametrize("opened", [0, 3, 70])
def test_candidates_are_at_least_fifty_where_the_course_has_them(opened: int) -> None:
    row = Row(opened=[item.content_id for item in SHELF.items[:opened]])
    item, _ = vectors(SHELF, standings()[COURSE], Reading(row, 0.0).facts({}))
    assert 50 <= len(item) <= MAX_CANDIDATES

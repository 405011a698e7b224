"""The ranker on made-up learners who open what a rule says: does it learn the rule, for whom, and judged how?"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from examples.oulad.tables.tables import day_end_us
from feature_repo.content_features import RANKER_FEATURES, READ, RECENT_FEATURES, ranker_features
from feature_repo.content_standing import RECENT_DAYS, Standing, standing
from feature_repo.fields import CONTENT_COUNTS
from firstmile.errors import DataError
from firstmile.names import STAGES
from firstmile.vocabulary import AUDIT_ATTRIBUTES, FORMATS
from training.dataset import check_columns
from training.gates import all_passed
from training.quality_ranking import GROUP_COLUMNS, extreme_frame, ranking_figures
from training.ranker import Ranker
from training.ranker_examine import day_figures, examined_scores, find_ranker
from training.ranker_gate import ranker_gate
from training.ranking_set import EVALUATED_DAYS, RankingSet
from training.split import later_start

N_ITEMS = 12
POPULAR = np.arange(N_ITEMS, 0, -1.0)
NOBODY = pd.DataFrame(columns=list(AUDIT_ATTRIBUTES), dtype=object)
"""No audit attribute is known of anybody."""


def shelf(**changed: list[float]) -> Standing:
    """Twelve pages of three formats; `changed` holds counts by name."""
    given = {name: np.array(values, float) for name, values in changed.items()}
    return standing(
        np.arange(N_ITEMS) % 3,
        {**dict.fromkeys(CONTENT_COUNTS, np.zeros(N_ITEMS)), "n_opened": POPULAR, **given},
        opened_in_stage=np.zeros((len(STAGES), N_ITEMS)),
        opened_earlier={days: POPULAR - (np.arange(N_ITEMS) % 4) for days in RECENT_DAYS},
    )


def made_set(n_people: int = 60, *, seed: int = 0) -> RankingSet:
    """Learners of two cohorts at two days; each opens next the two most popular pages of the format they like."""
    rng = np.random.default_rng(seed)
    rows = [(p, s, day) for p in ("AAA_2013J", "AAA_2014J") for s in range(n_people) for day in EVALUATED_DAYS]
    groups = pd.DataFrame(rows, columns=["cohort", "person", "day"])
    groups["person"] += np.where(groups["cohort"] == "AAA_2014J", n_people - 5, 0)  # five took both
    groups["user_id"] = groups["cohort"] + "-" + groups["person"].astype(str)
    groups["now_us"] = [day_end_us(p, d) for p, _, d in rows]
    groups["until_day"] = groups["day"] + 7
    liked = rng.integers(0, 3, 10 * n_people)[groups["person"]]
    users = {name: np.zeros(len(groups)) for name in READ}
    for code in range(3):
        users[f"opens_{FORMATS[code]}"] = 1.0 + 4.0 * (liked == code)
    user, item = (each.ravel() for each in np.indices((len(groups), N_ITEMS)))
    seen = np.zeros((len(groups), N_ITEMS), bool)
    y = (item % 3 == liked[user]) & (item < 6)
    groups["n_candidates"], groups["n_openings"], groups["n_lost"] = N_ITEMS, 2, 0
    x = ranker_features(shelf(), users, seen, user=user, item=item)
    return RankingSet(groups, x, y.astype(np.int8), user, POPULAR[item], item, {7: {"population": n_people}})


@pytest.fixture(scope="module")
def data() -> RankingSet:
    return made_set()


@pytest.fixture(scope="module")
def booster(data: RankingSet) -> xgb.Booster:
    return Ranker(7).fit(data)


def test_the_ranker_learns_what_an_order_without_the_learner_cannot(data: RankingSet) -> None:
    figures = find_ranker(data, examined_scores(data, Ranker(7), threads=2), NOBODY, seed=7).figures
    assert set(figures) == {"later_start", "held_out_people"}
    for by_day in figures.values():
        assert set(by_day) == set(EVALUATED_DAYS)
        for found in by_day.values():
            assert found["ndcg_at_5"] > 0.95 > 0.8 > found["ndcg_at_5_popularity"]
            assert found["ndcg_at_5"] - found["ndcg_at_5_popularity"] == pytest.approx(found["gain_over_popularity"])
            assert found["gain_over_popularity_low"] <= found["gain_over_popularity"]
            assert found["gain_over_popularity"] <= found["gain_over_popularity_high"]
            assert (found["n_nothing_opened"], found["n_lost"]) == (0, 0)
        assert all_passed(ranker_gate(by_day))


def test_only_who_is_examined_is_scored_and_students_who_took_both_teach_nothing(data: RankingSet) -> None:
    scores = examined_scores(data, Ranker(7), threads=1)
    is_later = (data.groups["cohort"] == "AAA_2014J").to_numpy()
    assert np.array_equal(~np.isnan(scores["later_start"]), is_later[data.group])
    assert not np.isnan(scores["held_out_people"]).any()
    split = later_start(data.groups["cohort"].to_numpy(str), data.groups["person"].to_numpy(np.int64))
    assert split is not None
    changed = replace(data, y=np.where(split.train[data.group], data.y, 1 - data.y).astype(np.int8))
    again = examined_scores(changed, Ranker(7), threads=1)
    assert np.array_equal(again["later_start"], scores["later_start"], equal_nan=True)


def test_the_same_seed_gives_the_same_booster_and_groups_without_an_opening_teach_nothing(
    data: RankingSet, booster: xgb.Booster
) -> None:
    assert Ranker(7).fit(data).save_raw() == booster.save_raw()
    idle = np.arange(len(data.groups)) % 2 == 0
    silent = replace(data, y=np.where(idle[data.group], 0, data.y).astype(np.int8))
    silent = replace(silent, groups=data.groups.assign(n_openings=np.where(idle, 0, 2)))
    assert Ranker(7).fit(silent).save_raw() == Ranker(7).fit(data, ~idle).save_raw()


def test_a_ranker_may_do_without_what_cannot_be_served(data: RankingSet) -> None:
    names = tuple(f for f in RANKER_FEATURES if f not in RECENT_FEATURES)
    ranker = Ranker(7, names)
    booster = ranker.fit(data)
    assert tuple(booster.feature_names) == names
    blind = data.x.copy()
    blind[:, [RANKER_FEATURES.index(f) for f in RECENT_FEATURES]] = np.nan
    assert np.array_equal(ranker.scores(booster, blind), ranker.scores(booster, data.x))


@pytest.mark.parametrize("item", range(0, N_ITEMS, 2))
def test_feedback_moves_an_item_its_way_and_never_the_other(booster: xgb.Booster, item: int) -> None:
    users = {name: np.ones(1) for name in READ}
    pairs = {"user": np.zeros(N_ITEMS, np.int64), "item": np.arange(N_ITEMS)}

    def scores(**verdicts: list[float]) -> np.ndarray:
        x = ranker_features(shelf(**verdicts), users, np.zeros((1, N_ITEMS), bool), **pairs)
        return Ranker(7).scores(booster, x)

    one = [40.0 if i == item else 0.0 for i in range(N_ITEMS)]
    plain, liked, disliked = scores(), scores(n_helpful=one), scores(n_unhelpful=one)
    others = np.arange(N_ITEMS) != item
    assert disliked[item] <= plain[item] <= liked[item]
    assert disliked[item] < liked[item]
    assert (liked[others] <= plain[others]).all()
    assert (disliked[others] >= plain[others]).all()


def test_chosen_groups_keep_their_rows(data: RankingSet) -> None:
    chosen = np.zeros(len(data.groups), bool)
    chosen[[3, 5]] = True
    part = data.where(chosen)
    assert part.groups["user_id"].tolist() == data.groups["user_id"].iloc[[3, 5]].tolist()
    assert part.group.tolist() == [0] * N_ITEMS + [1] * N_ITEMS
    assert np.array_equal(part.x, data.x[np.isin(data.group, [3, 5])], equal_nan=True)


def test_the_description_changes_with_any_label_or_feature(data: RankingSet) -> None:
    relabelled = replace(data, y=(1 - data.y).astype(np.int8))
    moved = replace(data, x=data.x + 1)
    assert data.description() == made_set().description()
    assert len({each.description()["sha256"] for each in (data, relabelled, moved)}) == 3
    assert data.trained_until_us() == day_end_us("AAA_2014J", 21)


def test_groups_without_an_opening_are_counted_and_lost_ones_weigh_on_the_figure(data: RankingSet) -> None:
    groups = data.groups.copy()
    groups.loc[:9, ["n_openings", "n_lost"]] = [[0, 0]] * 5 + [[2, 3]] * 5
    y = np.where(data.group < 5, 0, data.y).astype(np.int8)
    figures = day_figures(replace(data, groups=groups, y=y), y.astype(float), seed=1)
    assert sum(found["n_nothing_opened"] for found in figures.values()) == 5
    assert sum(found["n_lost"] for found in figures.values()) == 15
    assert set(figures) == set(EVALUATED_DAYS)
    assert all(found["ndcg_at_5"] < 1.0 for found in figures.values())  # every candidate in the right order


def test_groups_of_people_are_measured_where_they_are_large_enough() -> None:
    data = made_set(80)
    ids = data.groups["user_id"].drop_duplicates().to_numpy(object)
    gender = np.where(np.arange(len(ids)) % 10 == 0, "X", np.where(np.arange(len(ids)) % 2 == 0, "F", "M"))
    audit = NOBODY.reindex(pd.Index(ids, name="user_id")).assign(gender=gender)
    is_woman = data.groups["user_id"].isin(ids[gender == "F"]).to_numpy()[data.group]
    score = np.where(is_woman, -1.0, 1.0) * data.y
    found = find_ranker(data, {"later_start": score, "held_out_people": score}, audit, seed=1)
    assert set(found.groups) == set(EVALUATED_DAYS)
    for cut in found.groups.values():
        assert (cut["gender"]["groups"]["M"]["ndcg_at_5"], cut["gender"]["groups"]["F"]["ndcg_at_5"]) == (1.0, 0.0)
        assert cut["gender"]["gaps"] == dict.fromkeys(("ndcg_at_5", "ndcg_at_5_low", "ndcg_at_5_high"), 1.0)
        assert set(cut["gender"]["too_small"]) == {"X"}
        assert set(cut["region"]["groups"]) == {"unknown"}
    assert found.figures["later_start"][7]["gap_ndcg_at_5_gender"] == 1.0
    assert "gap_ndcg_at_5_gender" not in found.figures["held_out_people"][7]


def test_the_frames_of_the_quality_gate_say_what_is_in_the_set(data: RankingSet) -> None:
    figures = ranking_figures(data).set_index("of").loc["content_ranker AAA_2013J"]
    assert (figures["n_rows"], figures["n_users"], figures["lost_share"]) == (120, 60, 0.0)
    assert figures["opened_share"] == pytest.approx(2 / N_ITEMS)
    extremes = extreme_frame(data).set_index("of").loc["content_ranker AAA_2014J"]
    assert (extremes["least_position"], extremes["most_position"], extremes["missing_position"]) == (0.0, 1.0, 0.0)
    assert extremes["missing_clicks_per_opening"] == 0.0
    assert np.isnan(extremes["most_openings_per_showing"])
    assert extremes["missing_openings_per_showing"] == 1.0
    assert tuple(data.groups.columns) != GROUP_COLUMNS  # made by hand in another order; the real one is held


def test_a_ranker_no_better_than_either_baseline_is_refused_and_so_is_a_missing_figure() -> None:
    base = {"ndcg_at_5": 0.5, "ndcg_at_5_popularity": 0.4, "ndcg_at_5_last_day": 0.45}

    def passed(**changed: float) -> list[bool]:
        return [v.passed for v in ranker_gate({day: {**base, **changed} for day in EVALUATED_DAYS})]

    assert passed() == [True, True]
    assert passed(ndcg_at_5_popularity=0.5) == [False, True]
    assert passed(ndcg_at_5_last_day=0.51) == [True, False]
    assert passed(ndcg_at_5=math.nan) == [False, False]
    assert "missing or undefined" in ranker_gate({})[0].reason


@pytest.mark.parametrize("attribute", AUDIT_ATTRIBUTES)
def test_no_audit_attribute_is_a_feature(attribute: str) -> None:
    check_columns(RANKER_FEATURES, RANKER_FEATURES)
    with pytest.raises(DataError, match="audit attributes are not model inputs"):
        check_columns([*RANKER_FEATURES, attribute], RANKER_FEATURES)

"""Every built-in rule acts on the demo's learners: their rows as they were, models that learned from half of them."""

from collections import Counter
from functools import cache

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from demo_product import EVENTS
from serving_builder import policy

from examples.oulad.events.events import oulad_events
from examples.oulad.learning.labels import label, skill_level
from examples.oulad.tables import tables as oulad
from feature_repo.activity import FEATURE_NAMES, fold, windows
from feature_repo.row import empty_rows
from firstmile.setting_sections import ROOT
from firstmile.vocabulary import SKILL_LEVELS
from pipelines.clean import clean, to_events
from pipelines.mapping import read_mapping
from serving.facts import Facts

COHORT = "BBB_2013B"
DAYS = (3, 13, 28)
UNLIKELY = {"content_open": 0.05}
"""The online learner's word, which exists in its arm alone, once it has learned from live traffic."""


@cache
def tables() -> oulad.OuladTables:
    return oulad.read(ROOT / "data" / "oulad", [COHORT])


@cache
def learners(day: int) -> pd.DataFrame:
    """Every learner's features at the end of a day, by user id."""
    events = clean(oulad_events(tables(), to_day=day), read_mapping(EVENTS))
    user, names = pd.factorize(events.frame["user_id"])
    rows, _ = fold(empty_rows(len(names)), to_events(events, np.asarray(user, np.int64)))
    now_us = np.full(len(names), oulad.day_end_us(COHORT, day), np.int64)
    return pd.DataFrame(windows(rows, now_us), index=names)


@cache
def scores(day: int) -> pd.DataFrame:
    """What models say of the learners they did not learn from."""
    features = learners(day)
    taught = features.index[::2]
    levels = skill_level(tables(), day, only_later_marks=False)[0].set_index("user_id")["label"]
    leaving = label("disengagement", tables(), days=[28]).rows.set_index("user_id")["label"]
    found = {}
    for name, truth, task in (
        ("skill_level", levels, {"objective": "multi:softprob", "num_class": len(SKILL_LEVELS)}),
        ("disengagement", leaving, {"objective": "binary:logistic"}),
    ):
        known = truth.index.intersection(taught)
        data = xgb.DMatrix(features.loc[known, list(FEATURE_NAMES)], truth[known])
        booster = xgb.train({**task, "max_depth": 3, "nthread": 1, "seed": 7}, data, 30)
        found[name] = booster.predict(xgb.DMatrix(features[list(FEATURE_NAMES)]))
    by_level = {f"skill_level:{level}": found["skill_level"][:, i] for i, level in enumerate(SKILL_LEVELS)}
    said = pd.DataFrame({**by_level, "disengagement": found["disengagement"]}, index=features.index)
    return said.drop(index=taught)


def case(user: str, day: int, **more: dict[str, object]) -> Facts:
    values = {name: None if np.isnan(v) else float(v) for name, v in learners(day).loc[user].items()}
    said = {name: float(p) for name, p in scores(day).loc[user].items()}
    return Facts(**{"features": values, "profile": {"cohort": COHORT}, "scores": said, **more})


def held(facts: Facts) -> list[str]:
    """Rules whose condition holds for these facts."""
    segment = policy().answer(facts, limit=1).segment
    view = facts.view(segment.as_fields())
    return [rule.name for rule in policy().rules.rules if rule.when.holds(view)]


@cache
def seen() -> Counter[str]:
    """How often each rule acted on a learner, and each flow was chosen, over the days."""
    found: Counter[str] = Counter()
    for day in DAYS:
        for user in scores(day).index:
            facts = case(user, day)
            answer = policy().answer(facts, limit=5)
            found.update(held(facts))
            found.update({reason for item in answer.items for reason in item.reason.split("+")})
            found[f"chosen {answer.flow}"] += 1
    return found


@pytest.mark.parametrize(
    "effect",
    [
        "rule:beginner-first",
        "rule:re-engage",
        "rule:first-assessment-near",
        "chosen guided",
        "chosen re-engage",
        "chosen tailored",
        "chosen balanced",
        "confident-tailored",
        "advanced-skip-tour",
    ],
)
def test_it_is_seen_on_learners_and_not_on_all(effect: str) -> None:
    n_asked = sum(len(scores(day)) for day in DAYS)
    assert 0 < seen()[effect] < n_asked


def test_an_advanced_learner_without_a_course_is_not_shown_the_tour() -> None:
    found = [(user, day) for day in DAYS for user in scores(day).index if "advanced-skip-tour" in held(case(user, day))]
    user, day = found[0]
    shown = policy().answer(case(user, day, profile={}), limit=20).items
    assert shown
    assert not {"welcome-tour", "first-steps"} & {item.content.content_id for item in shown}


def test_a_learner_on_the_welcome_page_meets_the_terms_and_then_the_tour() -> None:
    user = scores(3).index[0]
    items = policy().answer(case(user, 3, profile={}, request={"page": "/welcome"}), limit=3).items
    assert [item.reason for item in items[:2]] == ["rule:terms-first", "rule:welcome-page"]


def test_who_is_unlikely_to_open_is_won_back() -> None:
    user = next(user for user in scores(13).index if "re-engage" not in held(case(user, 13)))
    answer = policy().answer(case(user, 13, scores={**scores(13).loc[user].to_dict(), **UNLIKELY}), limit=5)
    assert (answer.flow, answer.items[0].reason) == ("re-engage", "rule:unlikely-to-open")


def test_no_built_in_rule_is_left_out_here() -> None:
    others = {"terms-first", "welcome-page", "unlikely-to-open"}
    names = {rule.name for rule in policy().rules.rules}
    assert names > others
    assert names <= {name.removeprefix("rule:") for name in seen()} | others

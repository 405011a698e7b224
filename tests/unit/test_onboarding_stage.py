"""The stage of an onboarding: one rule, said twice (feature_repo/stage.py, rules.yaml), and it must agree."""

import itertools

import numpy as np
import pytest
from events_builder import DAY, T0, Event, fold_one, with_ids
from hypothesis import given
from hypothesis import strategies as st
from serving_builder import policy

from feature_repo.activity import windows
from feature_repo.stage import stages, stages_at
from firstmile.names import STAGES
from pipelines.segment import segments
from serving.facts import Facts

NAMES = ("form_submit_total_count", "clicks_total_count", "days_since_last_event")


@pytest.mark.parametrize(
    "values", list(itertools.product((0.0, 1.0, 3.0), (0.0, 1.0, 4.0, 5.0, 50.0), (None, 0.0, 6.0, 7.0, 400.0)))
)
def test_the_rules_of_serving_say_the_same(values: tuple[float | None, ...]) -> None:
    known = [np.array([np.nan if v is None else v]) for v in values]
    answer = policy().answer(Facts(features=dict(zip(NAMES, values, strict=True))), limit=1)
    assert STAGES[stages(*known)[0]] == answer.segment.stage


@given(
    st.lists(st.sampled_from(("page_view", "content_open", "form_submit", "error")), max_size=8),
    st.integers(0, 20),
)
def test_read_from_the_row_it_is_the_rule_over_its_windows(families: list[str], later_days: int) -> None:
    history = with_ids([Event(T0 + i, family=f) for i, f in enumerate(families)] or [Event(family=None)])
    rows, now_us = fold_one(history), np.array([(T0 + later_days * DAY) * 1_000])
    found = windows(rows, now_us)
    assert stages_at(rows, np.array([0]), now_us) == stages(*(found[name] for name in NAMES))


def test_a_segment_is_the_profiles_level_and_the_rows_stage() -> None:
    rows = fold_one(with_ids([Event(family="form_submit"), Event(user=1)]), n_users=3)
    profiles = [{}, {"skill_level": "advanced"}, {"skill_level": "wizard"}]
    found = segments(rows, np.array([2, 0, 1, 0]), np.full(4, T0 * 1_000), profiles)
    assert found.tolist() == ["unknown/new", "unknown/activated", "advanced/new", "unknown/activated"]

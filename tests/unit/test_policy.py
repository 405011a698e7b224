"""The policy: segments, preferences, flows and ranked content, over the shipped rules and the shipped catalogue."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_builder import LEARNER, Row, catalogue, policy

from examples.oulad.learning.preference import LEARNED_FORMATS
from firstmile.vocabulary import FORMATS, SKILL_LEVELS
from serving.catalogue import load_catalogue
from serving.facts import Facts
from serving.features import Reading
from serving.policy import Answer, Policy, preferred_formats
from serving.policy_fields import FIELDS
from serving.rules import load_rules

COURSE = "AAA_2014J"


def facts(*, opened: tuple[str, ...] = (), cohort: str | None = COURSE, page: str = "", **features: float) -> Facts:
    row = Row({**LEARNER, **features}, {"cohort": cohort}, opened=opened)
    return Reading(row, 0.0).facts({"page": page} if page else {})


def scored(given_facts: Facts, **scores: float) -> Facts:
    named = {name.replace("__", ":"): p for name, p in scores.items()}
    return Facts(**{**given_facts.__dict__, "scores": named})


def ids(answer: Answer) -> list[str]:
    return [item.content.content_id for item in answer.items]


@pytest.mark.parametrize(
    ("features", "stage"),
    [
        ({"clicks_total_count": 0.0}, "new"),
        ({"clicks_total_count": 5.0}, "active"),
        ({"days_since_last_event": 7.0}, "stalled"),
        ({"days_since_last_event": 7.0, "form_submit_total_count": 1.0}, "activated"),
    ],
)
def test_stage_follows_what_the_user_did(features: dict[str, float], stage: str) -> None:
    assert policy().answer(facts(**features), limit=1).segment.stage == stage


def test_confident_model_decides_the_skill_level() -> None:
    answer = policy().answer(scored(facts(), skill_level__advanced=0.9, skill_level__beginner=0.1), limit=5)
    assert (answer.segment.skill_level, answer.segment.confidence) == ("advanced", 0.9)
    assert answer.flow == "tailored"


def test_model_in_doubt_leaves_the_skill_level_to_rules_and_says_how_sure_it_is_of_that() -> None:
    doubt = {"skill_level__advanced": 0.4, "skill_level__intermediate": 0.25, "skill_level__beginner": 0.35}
    answer = policy().answer(scored(facts(), **doubt), limit=5)
    assert (answer.segment.skill_level, answer.segment.confidence) == ("beginner", 0.35)
    assert policy().answer(scored(facts(n_contents=20.0), **doubt), limit=1).segment.skill_level == "intermediate"


def test_beginner_gets_guided_formats_first() -> None:
    answer = policy().answer(facts(), limit=5)
    assert answer.flow == "guided"
    assert {item.content.format for item in answer.items} <= {"video", "lesson", "guide"}
    assert {item.reason for item in answer.items} == {"rule:beginner-first"}


def test_stalled_or_disengaging_user_is_won_back() -> None:
    stalled = policy().answer(facts(days_since_last_event=9.0), limit=5)
    leaving = policy().answer(scored(facts(), disengagement=0.6), limit=5)
    staying = policy().answer(scored(facts(), disengagement=0.59), limit=5)
    assert (stalled.flow, leaving.flow, staying.flow) == ("re-engage", "re-engage", "guided")
    assert stalled.items[0].reason == "rule:re-engage"


def test_balanced_flow_deals_the_formats_in_turn() -> None:
    answer = policy().answer(scored(facts(n_contents=25.0), skill_level__intermediate=0.7), limit=4)
    assert answer.flow == "balanced"
    assert len({item.content.format for item in answer.items}) == 4


def test_first_assessment_near_brings_practice() -> None:
    near = facts(cohort="BBB_2013B", onboarding_age_days=13.0, n_contents=25.0)
    answer = policy().answer(near, limit=5)
    assert {(item.content.format, item.reason) for item in answer.items} == {("quiz", "rule:first-assessment-near")}


def test_pages_are_of_the_users_own_course_and_done_ones_never_come_back() -> None:
    opened: tuple[str, ...] = ()
    own = {item.content_id for item in catalogue().shelves[COURSE].items}
    for _ in range(30):
        shown = ids(policy().answer(facts(opened=opened), limit=5))
        assert set(shown) <= own
        assert not set(shown) & set(opened)
        opened += tuple(shown)
    assert len(set(opened)) == 150  # past 64 the row remembers by a filter


def test_everything_done_leaves_nothing_to_recommend() -> None:
    everything = tuple(item.content_id for item in catalogue().shelves[COURSE].items)
    assert policy().answer(facts(opened=everything), limit=5).items == ()


def test_required_content_comes_first_pinned_content_at_its_place_after_it() -> None:
    answer = policy().answer(facts(cohort=None, page="/welcome"), limit=3)
    assert ids(answer)[:2] == ["accept-terms", "welcome-tour"]
    assert [item.reason for item in answer.items[:2]] == ["rule:terms-first", "rule:welcome-page"]
    assert ids(policy().answer(facts(cohort=None, opened=("accept-terms",), page="/welcome"), limit=1)) == [
        "welcome-tour"
    ]


PINNABLE = "items:\n" + "".join(
    f"  - {{content_id: {name}, title: T, format: {kind}}}\n"
    for name, kind in (("v1", "video"), ("v2", "video"), ("v3", "video"), ("l1", "lesson"), ("q1", "quiz"))
)


def pinned(folder: Path, *pins: str, limit: int = 5) -> list[str]:
    """What is shown of PINNABLE by rules p0, p1, … that pin so; a pin that begins with `!` is what a rule requires."""
    rules = [
        f"  - {{name: p{n}, {'require' if pin[0] == '!' else 'pin'}: {{{pin.lstrip('!')}}}}}\n"
        for n, pin in enumerate(pins)
    ]
    head = "skill_level: {otherwise: beginner}\nstage: {otherwise: new}\notherwise_flow: guided\nrules:\n"
    (folder / "rules.yaml").write_text(head + "".join(rules))
    (folder / "content.yaml").write_text(PINNABLE)
    found = load_catalogue(folder / "content.yaml")
    by = Policy(load_rules(FIELDS, found, folder / "rules.yaml"), found)
    return ids(by.answer(Facts(), limit=limit))


@pytest.mark.parametrize(
    ("pins", "shown"),
    [
        (["formats: [video], position: 1"], "v1 v2 v3 l1 q1"),
        (["formats: [video], position: 2"], "l1 v1 v2 v3 q1"),
        (["content_ids: [q1], position: 1", "content_ids: [l1], position: 1"], "q1 l1 v1 v2 v3"),
        (["content_ids: [q1], position: 2", "content_ids: [l1], position: 1"], "l1 q1 v1 v2 v3"),
        (["formats: [video], position: 1", "content_ids: [q1], position: 2"], "v1 q1 v2 v3 l1"),
        (["content_ids: [q1], position: 9", "content_ids: [l1], position: 8"], "v1 v2 v3 l1 q1"),
        (["!content_ids: [v3]", "content_ids: [q1], position: 1", "content_ids: [l1], position: 1"], "v3 q1 l1 v1 v2"),
        (["!content_ids: [v3]", "content_ids: [q1], position: 2", "content_ids: [l1], position: 1"], "v3 l1 q1 v1 v2"),
    ],
)
def test_of_several_pins_the_first_rule_and_the_better_item_come_first(
    tmp_path: Path, pins: list[str], shown: str
) -> None:
    for limit in (1, 3, 5):
        assert pinned(tmp_path, *pins, limit=limit) == shown.split()[:limit]


def test_content_waits_for_its_prerequisites() -> None:
    before = ids(policy().answer(facts(cohort=None), limit=20))
    after = ids(policy().answer(facts(cohort=None, opened=("first-steps",)), limit=20))
    assert "try-it-out" not in before
    assert "try-it-out" in after
    assert "go-deeper" not in after


def test_excluded_content_is_left_out() -> None:
    advanced = scored(facts(cohort=None), skill_level__advanced=0.9)
    shown = ids(policy().answer(advanced, limit=20))
    assert not {"welcome-tour", "first-steps"} & set(shown)
    assert "accept-terms" in shown


def test_what_a_user_opens_moves_the_order() -> None:
    sure = {"skill_level__intermediate": 0.9}
    reader = policy().answer(scored(facts(opens_lesson=40.0), **sure), limit=5)
    talker = policy().answer(scored(facts(opens_lesson=0.0, opens_community=40.0), **sure), limit=5)
    assert {i.content.format for i in reader.items} == {"lesson"}
    assert {i.content.format for i in talker.items} == {"community"}
    assert talker.items[0].reason == "preference:community"


def test_preferences_start_even_and_follow_the_users_opens() -> None:
    shelf = catalogue().shelves[COURSE]
    even = preferred_formats(Facts(), shelf)
    assert even == (("community", 0.25), ("document", 0.25), ("guide", 0.25), ("lesson", 0.25))
    assert preferred_formats(Facts({"opens_lesson": 15.0}), shelf)[0] == ("lesson", pytest.approx((15 + 1.25) / 20))


def test_preferences_are_the_models_where_it_answers_over_the_formats_of_the_shelf() -> None:
    said = dict(zip(LEARNED_FORMATS, (0.1, 0.2, 0.05, 0.25, 0.4), strict=True))
    known = scored(facts(opens_document=40.0), **{f"preference__{f}": p for f, p in said.items()})
    found = dict(preferred_formats(known, catalogue().shelves[COURSE]))  # a course without quizzes
    assert found == {f: pytest.approx(p / 0.6, abs=1e-4) for f, p in said.items() if f != "quiz"}


def test_a_format_the_model_was_not_taught_keeps_its_share_of_the_opens() -> None:
    taught = {f"preference__{f}": 1 / len(LEARNED_FORMATS) for f in LEARNED_FORMATS}
    shelf = catalogue().shelves[""]
    by_opens = dict(preferred_formats(facts(opens_video=10.0), shelf))
    found = dict(preferred_formats(scored(facts(opens_video=10.0), **taught), shelf))
    assert found["video"] == by_opens["video"]
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-3)
    assert len({p for f, p in found.items() if f != "video"}) == 1


def test_default_answer_is_the_general_catalogue_in_its_order() -> None:
    answer = policy().default(limit=3)
    assert ids(answer) == ["accept-terms", "welcome-tour", "first-steps"]
    assert {item.reason for item in answer.items} == {"default"}


counts = st.floats(0, 500, allow_nan=False).map(round)


@given(
    opens=st.dictionaries(st.sampled_from(FORMATS), counts),
    chances=st.tuples(counts, counts, counts),
    days=st.floats(0, 400),
    cohort=st.sampled_from([None, "AAA_2013J", "AAA_2014J", "BBB_2013B", "CCC_2020J"]),
    limit=st.integers(1, 50),
)
def test_any_facts_give_a_sound_answer_and_the_same_one_twice(
    opens: dict[str, float], chances: tuple[int, int, int], days: float, cohort: str | None, limit: int
) -> None:
    total = sum(chances) or 1
    scores = {f"skill_level:{s}": c / total for s, c in zip(SKILL_LEVELS, chances, strict=True)}
    features = {**{f"opens_{f}": n for f, n in opens.items()}, "days_since_last_event": days}
    known = scored(facts(cohort=cohort, **features), **{k.replace(":", "__"): p for k, p in scores.items()})
    answer = policy().answer(known, limit=limit)
    assert answer == policy().answer(known, limit=limit)
    assert 0 < len(set(ids(answer))) == len(answer.items) <= limit
    assert all(0 <= item.score <= 1 and item.reason for item in answer.items)
    assert sum(p for _, p in answer.preferences) == pytest.approx(1, abs=0.001)
    assert 0 <= answer.segment.confidence <= 1


def test_earlier_rules_bring_their_content_first_and_scores_fall_along_the_list() -> None:
    won_back = policy().answer(facts(days_since_last_event=9.0), limit=50)
    reasons = [item.reason for item in won_back.items]
    assert reasons == sorted(reasons, key=["rule:re-engage", "rule:beginner-first"].index)
    scores = [item.score for item in won_back.items]
    assert scores == sorted(scores, reverse=True)

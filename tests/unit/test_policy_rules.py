"""Loading rules and catalogue: what is meant is compiled, every mistake is refused with its line."""

from pathlib import Path

import pytest
from demo_product import CONTENT, RULES, with_data
from serving_builder import catalogue

from firstmile.documents import Document
from firstmile.errors import DataError
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from serving.catalogue import GENERAL, load_catalogue
from serving.conditions import Compiler
from serving.policy_fields import FIELDS
from serving.rules import RuleSet, load_rules

HEAD = """\
intents: {guided: [video, lesson]}
skill_level: {otherwise: beginner}
stage: {otherwise: new}
otherwise_flow: balanced
rules:
"""
CONTENT_HEAD = "items:\n  - {content_id: a, title: A, format: video}\n"


def load(folder: Path, rules: str, *, head: str = HEAD) -> RuleSet:
    path = folder / "rules.yaml"
    path.write_text(head + rules)
    return load_rules(FIELDS, catalogue(), path)


def test_rule_is_compiled_with_intents_as_formats(tmp_path: Path) -> None:
    rules = load(
        tmp_path, "  - {name: r, when: {request.page: /x}, prioritise: {intents: [guided], formats: [quiz]}}\n"
    )
    (rule,) = rules.rules
    assert rule.prioritise.formats == ("quiz", "video", "lesson")
    assert rule.when.holds({"request": {"page": "/x"}})
    assert not rule.when.holds({"request": {}})


@pytest.mark.parametrize(
    ("rules", "line", "said"),
    [
        ("  - {name: r, when: {features.clicks: 1}, flow: guided}", 6, "unknown field of features 'clicks'"),
        ("  - name: r\n    flow: guided\n    when:\n      feature.x: 1", 9, "unknown group of fields 'feature.x'"),
        ("  - {name: r, flow: slow}", 6, "unknown flow 'slow'; known: balanced, guided, re-engage, tailored"),
        ("  - {name: r, prioritise: {formats: [podcast]}}", 6, "unknown format 'podcast'"),
        ("  - {name: r, prioritise: {intents: [fun]}}", 6, "unknown intent 'fun'; known: guided"),
        ("  - {name: r, exclude: {content_ids: [nowhere]}}", 6, "'nowhere' is not in the catalogue"),
        ("  - {name: r, require: {steps: [sign_up, sing_up]}}", 6, "step 'sing_up' is not in the catalogue"),
        (
            "  - name: r\n    require: {formats: [quiz], content_ids: [welcome-tour]}",
            7,
            "no content of the catalogue (content.yaml) has all of formats: quiz; content_ids: welcome-tour",
        ),
        (
            "  - {name: r, pin: {intents: [guided], steps: [habits], levels: [beginner]}}",
            6,
            "has all of formats: video, lesson; levels: beginner; steps: habits",
        ),
        ("  - {name: r, when: {request.page: []}, flow: guided}", 6, "an empty list says nothing"),
        ("  - {name: r, when: {request.page: {not: []}}, flow: guided}", 6, "an empty list says nothing"),
        ("  - {name: r, when: {features.n_contents: {lt: .nan}}, flow: guided}", 6, "n_contents with nan"),
        ("  - {name: r, when: {features.n_contents: [1, .nan]}, flow: guided}", 6, "hold numbers, not nan"),
        ("  - {name: r, when: {features.n_contents: {gt: .inf}}, flow: guided}", 6, "n_contents with inf"),
        ("  - {name: r, exclude: {}}", 6, "selects everything"),
        ("  - {name: r, when: {request.page: /x}}", 6, "does nothing"),
        ("  - {name: r, when: {segment.stage: bored}, flow: guided}", 6, "unknown stage 'bored'"),
        ("  - {name: r, when: {segment.confidence: high}, flow: guided}", 6, "hold numbers"),
        ("  - {name: r, when: {request.page: {gte: 3}}, flow: guided}", 6, "compares a number field"),
        ("  - {name: r, when: {models.activation: {above: 3}}, flow: guided}", 6, "unknown operator 'above'"),
        ("  - {name: r, when: {profile.plan: {known: maybe}}, flow: guided}", 6, "true or false"),
        ("  - {name: r, when: {any: []}, flow: guided}", 6, "any: needs a list"),
        ("  - {name: r, when: {any: [7]}, flow: guided}", 6, "a condition is a mapping"),
        ("  - {name: r, colour: red, flow: guided}", 6, "colour"),
        ("  - {name: Bad Name, flow: guided}", 6, "name"),
        ("  - {name: r, flow: guided}\n  - {name: r, flow: guided}", 7, "given twice"),
        ("  - {name: r, flow: guided, flow: balanced}", 6, "'flow' is said twice"),
        ("  - {name: r, flow: [}", 6, ""),
        ("  - {name: r, pin: {formats: [video], position: 0}}", 6, "greater than or equal to 1"),
    ],
)
def test_mistake_is_refused_with_file_and_line(tmp_path: Path, rules: str, line: int, said: str) -> None:
    with pytest.raises(DataError) as refused:
        load(tmp_path, rules + "\n")
    assert f"rules.yaml, line {line}: " in str(refused.value)
    assert said in str(refused.value)


def test_a_rule_for_formats_that_a_product_does_not_have_yet_is_taken(tmp_path: Path) -> None:
    (tmp_path / "content.yaml").write_text(CONTENT_HEAD)
    (tmp_path / "rules.yaml").write_text(HEAD + "  - {name: r, prioritise: {formats: [quiz]}}\n")
    (rule,) = load_rules(FIELDS, load_catalogue(tmp_path / "content.yaml"), tmp_path / "rules.yaml").rules
    assert rule.prioritise.formats == ("quiz",)


@pytest.mark.parametrize(
    "guard",
    [
        "{steps: [billing]}",
        "{steps: [habits], levels: [beginner]}",
        "{content_ids: [accept-terms], levels: [advanced]}",
    ],
)
def test_content_that_may_come_is_excluded_already(tmp_path: Path, guard: str) -> None:
    assert load(tmp_path, f"  - {{name: r, exclude: {guard}}}\n").rules[0].exclude


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("  churn: {segment.stage: activated}", "unknown model 'churn'; known: activation"),
        ("  activation: {models.activation: {gt: 0.5}}", "unknown group of fields 'models.activation'"),
        ("  activation: {segment.skill_level: beginner}", "unknown field of segment 'skill_level'; known: stage"),
        ("  activation: {}", "holds of everybody"),
    ],
)
def test_whom_a_model_is_not_asked_about_is_known_before_it_is_asked(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DataError) as refused:
        load(tmp_path, "", head=HEAD.replace("rules:", f"not_asked:\n{line}\nrules: []"))
    assert "rules.yaml, line 6: " in str(refused.value)
    assert said in str(refused.value)


def test_intent_without_formats_is_refused_as_it_would_select_everything(tmp_path: Path) -> None:
    head = HEAD.replace("intents: {guided: [video, lesson]}", "intents:\n  practice: [quiz]\n  guided: []")
    with pytest.raises(DataError, match=r"rules\.yaml, line 3: intent 'guided' names no format"):
        load(tmp_path, "  - {name: r, exclude: {intents: [guided]}}\n", head=head)


@pytest.mark.parametrize("attribute", AUDIT_ATTRIBUTES)
@pytest.mark.parametrize("group", ["profile", "features", "user_audit"])
def test_audit_attribute_is_refused(tmp_path: Path, group: str, attribute: str) -> None:
    with pytest.raises(DataError, match=r"line 6: .*audit attribute"):
        load(tmp_path, f"  - {{name: r, when: {{{group}.{attribute}: x}}, flow: guided}}\n")


def test_segment_may_not_define_itself(tmp_path: Path) -> None:
    head = HEAD.replace(
        "stage: {otherwise: new}",
        "stage: {otherwise: new, choices: [{value: active, when: {segment.skill_level: beginner}}]}",
    )
    with pytest.raises(DataError, match="line 3: unknown group of fields"):
        load(tmp_path, "  []\n", head=head)


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml cannot be read"):
        load_rules(FIELDS, catalogue(), tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("condition", "values", "holds"),
    [
        ({"features.n_contents": {"gte": 5, "lt": 10}}, {"n_contents": 5.0}, True),
        ({"features.n_contents": {"gte": 5, "lt": 10}}, {"n_contents": 10.0}, False),
        ({"features.n_contents": 5}, {"n_contents": 5.0}, True),
        ({"features.n_contents": {"gte": 5}}, {"n_contents": None}, False),
        ({"features.n_contents": {"lt": 5}}, {}, False),
        ({"features.n_contents": {"known": False}}, {}, True),
        ({"features.n_contents": {"known": False}}, {"n_contents": 0.0}, False),
        ({"features.n_contents": {"not": [1, 2]}}, {"n_contents": 3.0}, True),
        ({"features.n_contents": {"not": 3}}, {"n_contents": 3.0}, False),
        ({"features.n_contents": {"not": 3}}, {}, False),
        ({"any": [{"features.n_contents": 1}, {"features.n_pages": 2}]}, {"n_pages": 2.0}, True),
        ({"any": [{"features.n_contents": 1}], "features.n_pages": 2}, {"n_pages": 2.0}, False),
        ({}, {}, True),
    ],
)
def test_condition_holds_when_all_of_it_does(
    condition: dict[str, object], values: dict[str, float], holds: bool
) -> None:
    compiled = Compiler(Document(Path("r.yaml"), condition, {}), FIELDS).condition((), condition)
    assert compiled.holds({"features": values}) is holds


def test_shipped_rules_and_catalogue_load() -> None:
    rules = load_rules(FIELDS, catalogue(), RULES)
    assert {rule.name for rule in rules.rules} >= {"beginner-first", "re-engage", "confident-tailored"}
    assert set(catalogue().shelves) == {GENERAL, "AAA_2013J", "AAA_2014J", "BBB_2013B"}


def test_rules_may_speak_of_the_weeks_of_a_course(tmp_path: Path) -> None:
    week = next(item.step for item in catalogue().shelves["AAA_2014J"].items if item.step)
    (rule,) = load(tmp_path, f"  - {{name: r, prioritise: {{steps: [{week}]}}}}\n").rules
    assert rule.prioritise.steps == (week,)


def test_pages_of_a_course_become_content_without_home_pages() -> None:
    shelf = catalogue().shelves["BBB_2013B"]
    assert len(shelf.items) == 236 + 37 + 17 + 15 + 5 + 1 + 1 + 1 + 1
    titles = {item.format: item.title.rpartition(" ")[0] for item in shelf.items}
    assert titles["quiz"] == "Quiz"
    assert {item.format for item in shelf.items} == {"community", "document", "guide", "lesson", "quiz"}
    assert all(item.url == f"/courses/BBB_2013B/pages/{item.content_id}" for item in shelf.items)


def test_pages_with_a_week_come_first_in_the_order_of_weeks() -> None:
    steps = [item.step for item in catalogue().shelves["AAA_2014J"].items]
    weeks = [int(step.removeprefix("week-")) for step in steps if step]
    assert 0 < len(weeks) < len(steps)
    assert weeks == sorted(weeks)
    assert all(step is None for step in steps[len(weeks) :])


def test_unknown_cohort_gets_the_general_catalogue() -> None:
    assert catalogue().shelf("ZZZ_2030B").cohort == catalogue().shelf(None).cohort == GENERAL


@pytest.mark.parametrize(
    ("items", "line", "said"),
    [
        ("  - {content_id: a, title: B, format: quiz}", 3, "'a' is given twice"),
        ("  - {content_id: b, title: B, format: song}", 3, "unknown format 'song'"),
        ("  - {content_id: b, title: B, format: quiz, level: guru}", 3, "unknown level 'guru'"),
        ("  - {content_id: b, title: B, format: quiz,\n     prerequisites: [c]}", 4, "unknown content_id 'c'"),
        ("  - {content_id: b, format: quiz}", 3, "title"),
        (
            "  - {content_id: b, title: B, format: quiz, prerequisites: [a, d]}\n"
            "  - {content_id: c, title: C, format: quiz, prerequisites: [b]}\n"
            "  - {content_id: d, title: D, format: quiz, prerequisites: [c]}",
            3,
            "b needs d needs c needs b: nobody",
        ),
        ("  - {content_id: b, title: B, format: quiz, prerequisites: [b]}", 3, "b needs b: nobody"),
    ],
)
def test_mistake_in_the_catalogue_is_refused(tmp_path: Path, items: str, line: int, said: str) -> None:
    path = tmp_path / "content.yaml"
    path.write_text(CONTENT_HEAD + items + "\n")
    with pytest.raises(DataError) as refused:
        load_catalogue(path)
    assert f"content.yaml, line {line}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("url", ["/c/{course}", "/c/{}", "/c/{site", "/c/{site.week}", "/c/{site[0]}", "/c/{site:q}"])
def test_url_that_pages_do_not_fill_is_refused_with_its_line(tmp_path: Path, url: str) -> None:
    path = tmp_path / "content.yaml"
    path.write_text(with_data(CONTENT.read_text()).replace("/courses/{presentation}/pages/{site}", f"'{url}'"))
    line = CONTENT.read_text().splitlines().index("shelves:") + 1
    with pytest.raises(DataError, match=rf"content\.yaml, line {line}: url .*\{{presentation\}} and \{{site\}}"):
        load_catalogue(path)


def test_missing_pages_are_said_with_the_line_of_their_hook(tmp_path: Path) -> None:
    path = tmp_path / "content.yaml"
    path.write_text(CONTENT.read_text().replace("../../data/oulad", "nowhere"))
    with pytest.raises(DataError, match=r"content\.yaml, line \d+: .*nowhere has no file vle"):
        load_catalogue(path)

"""rules.yaml: who is left out and who is not, and what is said about a wrong file."""

import pickle
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from demo_product import CLEANING

from examples.oulad.events.events import oulad_events
from examples.oulad.tables import tables as oulad
from firstmile.errors import DataError
from firstmile.setting_sections import ROOT
from pipelines.bots import is_bot
from pipelines.rules import REASONS, Rules, read_rules

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def rules(path: Path, text: str) -> Rules:
    path.write_text(f"version: 1\n{text}")
    return read_rules(path)


def reason(by: Rules, user_id: str = "u1", **values: Any) -> str:
    """Why one event is left out, "" = it is not."""
    event = {"user_id": user_id, "user_agent": None, "consent": None, "properties": None, **values}
    code = int(by.left_out(pd.DataFrame([event]))[0])
    return REASONS[code] if code >= 0 else ""


@pytest.mark.parametrize(
    ("agent", "is_robot"),
    [
        (GOOGLEBOT, True),
        (
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            True,
        ),
        ("Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", True),
        ("Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) Chrome/131.0 Mobile (compatible; Googlebot/2.1)", True),
        ("facebookexternalhit/1.1", True),
        (CHROME, False),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148 Safari/604.1", False),
        ("Mozilla/5.0 (Linux; Android 13; CUBOT X30) AppleWebKit/537.36 Chrome/120 Mobile Safari/537.36", False),
        ("", False),
    ],
)
def test_robots_are_told_from_people(agent: str, is_robot: bool) -> None:
    assert is_bot(agent) is is_robot
    assert reason(Rules(), user_agent=agent) == ("bot" if is_robot else "")


def test_a_browser_family_can_be_made_a_robot(tmp_path: Path) -> None:
    headless = CHROME.replace("Chrome/", "HeadlessChrome/")
    by = rules(tmp_path / "r.yaml", "bots: {families: [HeadlessChrome]}")
    assert [reason(r, user_agent=a) for r, a in ((by, headless), (by, CHROME), (Rules(), headless))] == ["bot", "", ""]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"user_id": "qa-17"}, "internal"),
        ({"user_id": "QA-17"}, ""),
        ({"user_id": "x-qa-17"}, ""),
        ({"user_id": "root"}, "internal"),
        ({"user_id": "Ann@Example.COM"}, "internal"),
        ({"user_id": "test+Ann@corp.IO"}, "internal"),
        ({"user_id": "Test+ann@corp.io"}, ""),
        ({"user_id": "ann@example.com.au"}, ""),
        ({"properties": {"email": "Ann@Firstmile.IO "}}, "internal"),
        ({"properties": [("email", "ann@it.firstmile.io")]}, "internal"),
        ({"properties": {"email": "ann@notfirstmile.io"}}, ""),
        ({"properties": {"work_email": "ann@firstmile.io"}}, ""),
        ({"properties": {"email": ""}}, ""),
        ({"properties": {"email_domain": "firstmile.io"}}, "internal"),
        ({"properties": {"staff": "true"}}, "internal"),
        ({"properties": {"staff": "True"}}, "internal"),
        ({"properties": {"staff": "false"}}, ""),
        ({"properties": {"tier": "0"}}, "internal"),
        ({"properties": {"plan": "Load Test"}}, "internal"),
        ({"properties": {}}, ""),
    ],
)
def test_internal_users_are_told_from_customers(event: dict[str, Any], expected: str, tmp_path: Path) -> None:
    by = rules(
        tmp_path / "r.yaml",
        "internal:\n"
        "  user_ids: ['qa-*', root, '*@example.com', 'test+*@Corp.io']\n"
        "  email_domains: [Firstmile.io]\n"
        "  properties: {staff: true, tier: 0, plan: load test}\n",
    )
    assert reason(by, **event) == expected


@pytest.mark.parametrize(
    ("text", "left_out"),
    [("consent: refuse_denied", [False]), ("consent: required", [None, False]), ("bots: {}", [False])],
)
def test_consent_is_asked_for_as_the_rules_say(text: str, left_out: list[bool | None], tmp_path: Path) -> None:
    by = rules(tmp_path / "r.yaml", text)
    # A column of one value, and one of all three, have different types.
    assert [said for said in (True, None, False) if reason(by, consent=said)] == left_out
    frame = pd.DataFrame({"user_id": "u", "consent": [True, None, False]})
    assert [said for said, code in zip((True, None, False), by.left_out(frame), strict=True) if code >= 0] == left_out


def test_the_first_of_several_reasons_is_given() -> None:
    everything = {"user_agent": GOOGLEBOT, "consent": False, "properties": {"internal": "true"}}
    assert reason(read_rules(CLEANING), **everything) == "bot"
    assert reason(read_rules(CLEANING), **{**everything, "user_agent": CHROME}) == "internal"


def test_a_frame_without_agents_consent_and_properties_is_judged_by_users_alone() -> None:
    frame = pd.DataFrame({"user_id": ["u1", "ann@example.com"]})
    assert read_rules(CLEANING).left_out(frame).tolist() == [-1, REASONS.index("internal")]
    assert read_rules(CLEANING).left_out(frame.iloc[:0]).tolist() == []


def test_the_shipped_rules_leave_no_learner_of_oulad_out() -> None:
    events = oulad_events(oulad.read(ROOT / "data" / "oulad", ["AAA_2014J"]), to_day=7).to_pandas()
    assert len(events) > 1_000
    assert set(read_rules(CLEANING).left_out(events)) == {-1}


def test_rules_reach_another_process_as_they_are() -> None:
    by = read_rules(CLEANING)
    assert reason(by, "ann@example.com") == "internal"
    again = pickle.loads(pickle.dumps(by))
    assert again == by
    assert reason(again, "ann@example.com") == "internal"


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("consent: maybe", 2, "consent: Input should be 'refuse_denied' or 'required'"),
        ("internal:\n  user_ids: ['qa-*', '*']", 3, "'*' leaves everybody out"),
        ("internal:\n  user_ids: ['']", 3, "internal.user_ids.0: String should have at least 1 character"),
        ("internal:\n  email_domains:\n  - x.org\n  - ann@x.org", 5, "internal.email_domains.1: String should match"),
        ("internal:\n  properties: {staff: [1]}", 3, "internal.properties.staff"),
        ("pages:\n  traits:\n  - plan\n  - Age Band", 5, "'Age Band' is an audit attribute, which no profile holds"),
        ("pages:\n  traits: ['']", 3, "pages.traits.0: String should have at least 1 character"),
        ("pages:\n  user_hash: maybe", 3, "pages.user_hash: Input should be 'optional' or 'required'"),
        ("pages: {trait: [plan]}", 2, "pages.trait: Extra inputs are not permitted"),
        ("internals: {}", 2, "internals: Extra inputs are not permitted"),
        ("bots:\n  families: HeadlessChrome", 3, "bots.families: Input should be a valid tuple"),
    ],
)
def test_a_wrong_file_is_named_with_the_line(text: str, line: int, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    with pytest.raises(DataError, match=re.escape(f"{path}, line {line}: ") + ".*" + re.escape(complaint)):
        rules(path, text)

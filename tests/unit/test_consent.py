"""Consent as clients say it: every form that Segment's and RudderStack's clients send, read for the rules' category."""

from pathlib import Path
from typing import Any

import pytest
from collector_builder import Door, listed, track

from firstmile.errors import DataError
from firstmile.names import USER_ACTIONS
from pipelines.consent import ConsentRule
from pipelines.notes import Note
from pipelines.rules import Rules, read_rules


def said(context: dict[str, Any], rule: ConsentRule | None = None) -> bool | None:
    notes: list[Note] = []
    found = (rule or ConsentRule()).said(context, notes)
    assert not notes
    return found


@pytest.mark.parametrize(
    ("consent", "found"),
    [
        (True, True),
        (False, False),
        ("granted", True),
        ("denied", False),
        ("no", False),
        (0, False),
        (1.0, True),
        (None, None),
        ({}, None),
        ([], None),
        ({"categoryPreferences": {"Analytics": True, "Advertising": False}}, True),
        ({"categoryPreferences": {"analytics ": False}}, False),
        ({"categoryPreferences": {"Analytics": "false"}}, False),
        ({"categoryPreferences": {"Analytics": None}}, None),
        ({"categoryPreferences": {"Advertising": False}}, None),
        ({"categoryPreferences": []}, None),
        ({"Analytics": "true", "Advertising": "false"}, True),
        ({"ANALYTICS": False}, False),
        ({"analytics_storage": "granted", "ad_storage": "denied"}, True),
        ({"analytics_storage": "denied", "ad_storage": "granted"}, False),
        ({"purposes": {"analytics": {"allowed": "true", "legalBasisCode": "consent_optin"}}}, True),
        ({"purposes": {"analytics": {"allowed": "false"}}}, False),
        ({"Analytics": True, "categoryPreferences": {"Analytics": False}}, False),
    ],
)
def test_consent_object_is_read(consent: Any, found: bool | None) -> None:
    assert said({"consent": consent}) is found


@pytest.mark.parametrize(
    ("management", "found"),
    [
        ({"deniedConsentIds": ["Analytics"], "allowedConsentIds": [], "provider": "oneTrust"}, False),
        ({"deniedConsentIds": ["advertising"], "allowedConsentIds": ["analytics"], "resolutionStrategy": "or"}, True),
        ({"deniedConsentIds": ["Analytics"], "allowedConsentIds": ["Analytics"]}, False),
        ({"deniedConsentIds": ["C0004"], "allowedConsentIds": ["C0001"]}, None),
        ({"deniedConsentIds": [], "allowedConsentIds": []}, None),
        ({"deniedConsentIds": None}, None),
        ({"deniedConsentIds": "Advertising,Analytics"}, False),
        ({"allowedConsentIds": {"Analytics": True}}, True),
        ({"allowedConsentIds": {"Analytics": False}}, False),
        ({"deniedConsentIds": {"Analytics": True}}, False),
        ({"deniedConsentIds": {"Analytics": False}}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_rudderstacks_consent_management_is_read(management: Any, found: bool | None) -> None:
    assert said({"consentManagement": management}) is found


def test_ids_of_a_consent_manager_are_configured_and_any_no_is_a_no() -> None:
    rule = ConsentRule(("C0002", "7"))
    assert said({"consentManagement": {"allowedConsentIds": ["c0002", 7]}}, rule) is True
    assert said({"consentManagement": {"allowedConsentIds": ["C0002"], "deniedConsentIds": [7]}}, rule) is False
    assert said({"consentManagement": {"deniedConsentIds": ["Analytics"]}}, rule) is None


@pytest.mark.parametrize("first", [True, {"Analytics": True}])
def test_of_several_forms_any_no_is_a_no(first: Any) -> None:
    management = {"deniedConsentIds": ["Analytics"], "allowedConsentIds": []}
    assert said({"consent": first, "consentManagement": management}) is False
    assert said({"consent": False, "consentManagement": {"allowedConsentIds": ["Analytics"]}}) is False


UNREADABLE = [
    {"consent": "perhaps"},
    {"consent": 7},
    {"consent": ["Analytics"]},
    {"consent": {"categoryPreferences": "none"}},
    {"consent": {"categoryPreferences": {"Analytics": "pending"}}},
    {"consent": {"Analytics": {"since": "2026"}}},
    {"consent": {"Analytics": []}},
    {"consentManagement": "denied"},
    {"consentManagement": {"deniedConsentIds": [{"id": "Analytics"}]}},
    {"consentManagement": {"deniedConsentIds": True}},
    {"consent": True, "consentManagement": 7},
]


@pytest.mark.parametrize("context", UNREADABLE)
@pytest.mark.parametrize("is_required", [False, True])
def test_what_cannot_be_read_is_a_no_told_and_counted(context: dict[str, Any], is_required: bool) -> None:
    door = Door(Rules(consent=ConsentRule(is_required=is_required)))
    call = {"type": "identify", "userId": "u1", "traits": {"plan": "pro"}, "context": context}
    answer = door.post(call, "/v1/identify")
    assert listed(answer, "notes") == [(0, "bad_consent")]
    assert door.counted("notes") == {"bad_consent": 1}
    ((topic, record),) = door.kept.records()  # and no profile
    assert (topic, record["consent"]) == (USER_ACTIONS, False)


def test_consent_of_a_batch_holds_for_its_events() -> None:
    door = Door()
    context = {"consentManagement": {"deniedConsentIds": ["analytics"]}}
    own = {"consent": True}
    door.post({"batch": [track(), track(context=own)], "context": context}, "/v1/batch")
    assert [record["consent"] for _, record in door.kept.records()] == [False, False]


@pytest.mark.parametrize(
    ("text", "categories"),
    [("Analytics", ("Analytics",)), ("[Analytics, C0002]", ("Analytics", "C0002"))],
)
def test_rules_file_names_one_category_or_several(text: str, categories: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"version: 1\nconsent_category: {text}\n")
    assert read_rules(path).consent == ConsentRule(categories)


@pytest.mark.parametrize("text", ["[]", "''", "[Analytics, '']", "{a: b}"])
def test_a_category_that_is_none_is_refused_with_its_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"version: 1\nconsent_category: {text}\n")
    with pytest.raises(DataError, match="line 2: consent_category"):
        read_rules(path)

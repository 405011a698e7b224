"""Who may write to the collector: keys in all their places, what a page may write, and limits by key and address."""

import base64
from pathlib import Path
from typing import Any

import pytest
from collector_builder import IDENTITY_SECRET, PAGE, PUBLISHABLE, SECRET, Door, error_of, listed, track
from demo_product import CLEANING

from firstmile.http.keys import user_hash
from firstmile.names import PROFILES, SYSTEM_LOGS, USER_ACTIONS
from pipelines.internal_users import InternalUsers
from pipelines.page_access import PageRules
from pipelines.rules import Rules, read_rules

STRICT = Rules(pages=PageRules(needs_proof=True))
PROOF = user_hash("u1", IDENTITY_SECRET)
VISITOR = "0b0f3b1c-6a5e-4c1e-9d2a-5f0c4c1e9d2a"


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "query", "body"),
    [
        ({"Authorization": f"Bearer {SECRET}"}, "", {}),
        (basic(SECRET), "", {}),
        ({}, f"?writeKey={SECRET}", {}),
        ({}, "", {"writeKey": SECRET}),
        ({}, "?writeKey=", {"writeKey": SECRET}),
    ],
)
def test_key_is_taken_in_each_of_its_places(headers: dict[str, str], query: str, body: dict[str, Any]) -> None:
    door = Door()
    assert door.post(track(**body), f"/v1/track{query}", key=None, headers=headers).status_code == 200
    batch = {"batch": [track()], **body}
    assert door.post(batch, f"/v1/batch{query}", key=None, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "query", "body"),
    [
        ({}, "", {}),
        ({"Authorization": "Bearer wrong"}, "", {"writeKey": SECRET}),
        ({"Authorization": "Basic !!"}, "", {}),
        ({"Authorization": "Basic é".encode("latin-1")}, "", {}),
        ({"Authorization": SECRET}, "", {}),
        ({}, "?writeKey=wrong", {"writeKey": SECRET}),
        ({}, "", {"writeKey": "ключ"}),
        ({}, "", {"writeKey": 7}),
        ({}, "", {"writeKey": "x" * 5_000}),
    ],
)
def test_without_a_key_nothing_is_taken(headers: Any, query: str, body: dict[str, Any]) -> None:
    door = Door()
    answer = door.post(track(**body), f"/v1/track{query}", key=None, headers=headers)
    assert error_of(answer) == (401, "bad_write_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert door.kept.queued == []


def test_events_of_a_batch_bring_keys_of_their_own_and_are_judged_each_by_its() -> None:
    door = Door()
    calls = [track(writeKey=SECRET), track(writeKey="wrong"), track(), track(writeKey=PUBLISHABLE), 3]
    answer = door.post({"batch": calls}, "/v1/batch", key=None)
    assert answer.json()["accepted"] == 2
    assert listed(answer, "errors") == [(1, "bad_write_key"), (2, "bad_write_key"), (4, "bad_write_key")]
    refused = door.post({"batch": [track(), track(writeKey="wrong")]}, "/v1/batch", key=None)
    assert error_of(refused) == (401, "bad_write_key")


def test_key_of_the_request_counts_and_not_what_its_events_say() -> None:
    door = Door(STRICT)
    calls = [track(writeKey=SECRET)]
    assert error_of(door.post({"batch": calls}, "/v1/batch", key=PUBLISHABLE)) == (403, "user_not_proven")
    assert listed(door.post({"batch": [track(writeKey="wrong")]}, "/v1/batch"), "errors") == []


@pytest.mark.parametrize("place", ["header", "query", "body", "event"])
def test_secret_key_sent_by_a_page_is_refused(place: str) -> None:
    door = Door()
    of_event = {"writeKey": SECRET} if place == "event" else {}
    body = {"batch": [track(**of_event)], **({"writeKey": SECRET} if place == "body" else {})}
    path = f"/v1/batch?writeKey={SECRET}" if place == "query" else "/v1/batch"
    answer = door.post(body, path, key=SECRET if place == "header" else None, headers=PAGE)
    assert error_of(answer) == (403, "secret_key_in_browser")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert door.kept.queued == []
    assert door.post({"batch": [track()]}, "/v1/batch", key=PUBLISHABLE, headers=PAGE).status_code == 200


@pytest.mark.parametrize("in_body", [False, True])
def test_one_address_does_not_use_up_a_publishable_key_for_the_others(in_body: bool) -> None:
    door = Door(address_requests_per_s=1)
    key = None if in_body else PUBLISHABLE
    call = track(writeKey=PUBLISHABLE)
    answers = [door.post(call, key=key, address="10.0.0.9") for _ in range(6)]
    assert [a.status_code for a in answers].count(200) == 2
    assert error_of(answers[-1]) == (429, "too_many_requests")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert door.post(call, key=key).status_code == 200
    assert door.post(call, key=SECRET, address="10.0.0.9").status_code == 200


def test_address_is_charged_before_a_body_is_read_for_its_key() -> None:
    door = Door(address_requests_per_s=1)
    answers = [door.post(b"{", key=None) for _ in range(4)]
    assert [a.status_code for a in answers] == [400, 400, 429, 429]


def test_key_is_charged_for_what_was_taken_and_a_secret_one_for_every_request() -> None:
    door = Door(STRICT, address_requests_per_s=0, key_requests_per_s=1)
    assert {door.post(track(), key=PUBLISHABLE).status_code for _ in range(9)} == {403}
    visitor = {"event": "x", "anonymousId": VISITOR}
    assert [door.post(visitor, key=PUBLISHABLE).status_code for _ in range(3)] == [200, 200, 429]
    assert [door.post({"batch": 3}, "/v1/batch").status_code for _ in range(3)] == [400, 400, 429]


def test_a_page_cannot_say_what_a_server_did() -> None:
    door = Door()
    log = {"type": "log", "userId": "u1", "event": "Server Error"}
    refused = door.post({"batch": [log]}, "/v1/batch", key=PUBLISHABLE, headers=PAGE)
    assert error_of(refused) == (403, "server_only")
    said = track(properties={"source": "server"})
    assert door.post(said, key=PUBLISHABLE, headers=PAGE).status_code == 200
    assert door.post(said).status_code == 200
    assert [topic for topic, _ in door.kept.records()] == [USER_ACTIONS, SYSTEM_LOGS]


def test_a_page_sets_only_the_traits_of_the_rules_and_is_told() -> None:
    ours = InternalUsers(email_domains=("firstmile.io",), email_properties=("email",))
    door = Door(Rules(internal=ours, pages=PageRules(frozenset({"locale"}))))
    traits = {"plan": "enterprise", "locale": "en-GB", "email": "ann@firstmile.io"}
    call = {"type": "identify", "userId": "u1", "traits": traits}
    answer = door.post(call, "/v1/identify", key=PUBLISHABLE, headers=PAGE)
    assert listed(answer, "notes") == [(0, "trait_not_settable")]
    assert "email, plan" in answer.json()["notes"][0]["message"]
    assert "enterprise" not in answer.text
    assert door.counted("notes") == {"trait_not_settable": 1}
    (_, event), (_, profile) = door.kept.records()
    assert profile["traits"] == {"locale": "en-GB"}
    assert event["properties"] == {"email_domain": "firstmile.io"}
    assert listed(door.post(call, "/v1/identify"), "notes") == []
    assert door.kept.records()[-1][1]["traits"] == traits


def test_by_default_a_page_sets_no_trait_and_its_identify_is_an_event() -> None:
    door = Door()
    answer = door.post({"userId": "u1", "traits": {"plan": "pro"}}, "/v1/identify", key=PUBLISHABLE)
    assert listed(answer, "notes") == [(0, "trait_not_settable")]
    assert [topic for topic, _ in door.kept.records()] == [USER_ACTIONS]


def test_audit_attributes_are_left_out_told_and_counted_and_the_rest_is_kept() -> None:
    door = Door()
    answer = door.post({"userId": "u1", "traits": {"plan": "pro", "Gender": "F", "age band": "x"}}, "/v1/identify")
    assert listed(answer, "notes") == [(0, "audit_attribute")]
    assert "Gender, age band" in answer.json()["notes"][0]["message"]
    assert door.counted("notes") == {"audit_attribute": 1}
    assert [record["traits"] for topic, record in door.kept.records() if topic == PROFILES] == [{"plan": "pro"}]
    door.post({"userId": "u1", "traits": {"gender": "F"}}, "/v1/identify")
    assert [topic for topic, _ in door.kept.records()] == [USER_ACTIONS, PROFILES, USER_ACTIONS]


@pytest.mark.parametrize(
    "proof",
    [
        {"user_hash": PROOF},
        {"userHash": PROOF.upper()},
        {"context": {"user_hash": PROOF}},
        {"context": {"userHash": PROOF}},
    ],
)
def test_where_the_rules_ask_for_proof_a_page_writes_for_a_proven_user(proof: dict[str, Any]) -> None:
    door = Door(STRICT)
    assert door.post(track(**proof), key=PUBLISHABLE).status_code == 200
    in_batch = {"batch": [track(), track(userId="u2")], "context": proof.get("context", proof)}
    answer = door.post(in_batch, "/v1/batch", key=PUBLISHABLE)
    assert listed(answer, "errors") == [(1, "user_not_proven")]
    assert door.counted("events_refused") == {"user_not_proven": 1}


@pytest.mark.parametrize("wrong", [None, 7, "", "é", user_hash("u2", IDENTITY_SECRET), user_hash("u1", "other")])
def test_an_unproven_user_is_refused_and_a_server_needs_no_proof(wrong: Any) -> None:
    door = Door(STRICT)
    assert error_of(door.post(track(user_hash=wrong), key=PUBLISHABLE)) == (403, "user_not_proven")
    assert door.kept.queued == []
    assert door.post(track(user_hash=wrong), key=SECRET).status_code == 200
    assert Door().post(track(user_hash=wrong), key=PUBLISHABLE).status_code == 200


def test_without_an_identity_secret_the_refusal_says_what_to_set() -> None:
    answer = Door(STRICT, secrets=()).post(track(user_hash=PROOF), key=PUBLISHABLE)
    assert error_of(answer) == (403, "user_not_proven")
    assert "FIRSTMILE_SERVING__IDENTITY_SECRET" in answer.json()["error"]["hint"]


@pytest.mark.parametrize("said", [VISITOR, VISITOR.upper(), f"anon_{VISITOR}"])
def test_a_visitor_is_written_under_the_id_that_decisions_are_asked_for(said: str) -> None:
    door = Door(STRICT)
    assert door.post({"event": "x", "anonymousId": said}, key=PUBLISHABLE).status_code == 200
    ((_, record),) = door.kept.records()
    assert record["user_id"] == record["anonymous_id"] == f"anon_{VISITOR}"


@pytest.mark.parametrize(
    "said", ["u2", "anon_u2", "d373b2e2-ed51-11f1-a27c-02fc00000001", VISITOR.replace("-", ""), f"anon_{VISITOR}x"]
)
def test_another_users_id_given_as_an_anonymous_one_writes_no_row(said: str) -> None:
    door = Door(STRICT)
    assert error_of(door.post({"event": "x", "anonymousId": said}, key=PUBLISHABLE)) == (403, "user_not_proven")
    assert door.kept.queued == []
    answer = door.post(track(anonymousId=said, user_hash=PROOF), key=PUBLISHABLE)
    assert listed(answer, "notes") == [(0, "bad_anonymous_id")]
    ((_, record),) = door.kept.records()
    assert (record["user_id"], record["anonymous_id"]) == ("u1", None)


def test_rules_file_says_what_pages_may_write(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("version: 1\npages: {traits: [locale, plan], user_hash: required}\n")
    assert read_rules(path).pages == PageRules(frozenset({"locale", "plan"}), needs_proof=True)
    assert read_rules(CLEANING).pages == PageRules()


def test_calls_of_a_request_are_received_one_after_the_other() -> None:
    door = Door()
    calls = [{"type": "identify", "userId": "u1", "traits": {"n": n}} for n in range(3)]
    door.post({"batch": calls}, "/v1/batch")
    for topic in (USER_ACTIONS, PROFILES):
        received = [record["received_at"] for found, record in door.kept.records() if found == topic]
        assert received == [received[0], received[0] + 1, received[0] + 2]


def test_a_null_or_empty_trait_is_written_as_removed() -> None:
    door = Door()
    door.post({"userId": "u1", "traits": {"plan": None, "team": "", "role": "admin"}}, "/v1/identify")
    assert door.kept.records()[-1][1]["traits"] == {"plan": "", "team": "", "role": "admin"}

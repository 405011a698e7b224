"""Any JSON value at any place of a request: a record that the stream reads, or a refusal that is told; never a 500."""

import copy
import json
from typing import Any

import pytest
from collector_builder import IDENTITY_SECRET, PUBLISHABLE, SECRET, Door, error_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstmile.http.keys import user_hash
from pipelines.call_names import DOORS
from pipelines.consent import ConsentRule
from pipelines.internal_users import InternalUsers
from pipelines.page_access import PageRules
from pipelines.rules import Rules

RULES = [
    Rules(),
    Rules(
        internal=InternalUsers(("*@x.org",), ("x.org",), ("email",), (("internal", "true"),)),
        consent=ConsentRule(("Analytics", "C0002"), is_required=True),
        pages=PageRules(frozenset({"plan", "email"}), needs_proof=True),
    ),
]
CALL: dict[str, Any] = {
    "userId": "u1",
    "anonymousId": "0b0f3b1c-6a5e-4c1e-9d2a-5f0c4c1e9d2a",
    "user_hash": user_hash("u1", IDENTITY_SECRET),
    "messageId": "m1",
    "event": "Form Submitted",
    "name": "Home",
    "timestamp": "2026-11-23T10:00:00Z",
    "originalTimestamp": "2026-11-23T10:00:00Z",
    "sentAt": "2026-11-23T11:00:00Z",
    "properties": {"content_id": "c1", "onboarding_at": 1795428000000000, "path": "/a", "tags": [1], "source": "web"},
    "traits": {"plan": "pro", "gender": "F", "email": "ann@x.org", "seats": 3},
    "context": {
        "locale": "en-GB",
        "userAgent": "Mozilla/5.0 (Linux; Android 13) Mobile",
        "consent": {"categoryPreferences": {"Analytics": True}},
        "consentManagement": {"allowedConsentIds": ["Analytics"], "deniedConsentIds": ["C0004"]},
        "page": {"path": "/b", "referrer": "https://example.org/x"},
        "device": {"type": "ios", "model": "iPad"},
        "os": {"name": "iOS"},
        "network": {"wifi": True},
        "campaign": {"name": "spring"},
        "location": {"country": "GB"},
        "traits": {"plan": "free"},
    },
}
KINDS = ("track", "page", "screen", "identify", "group", "alias", "log")
BATCH: dict[str, Any] = {
    "batch": [{**CALL, "type": kind, "messageId": kind} for kind in KINDS],
    "sentAt": "2026-11-23T11:00:00Z",
    "context": CALL["context"],
    "writeKey": PUBLISHABLE,
}
Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> list[Place]:
    """Every way into a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


def put(body: Any, place: Place, value: Any) -> Any:
    """The body with another value at a place."""
    if not place:
        return value
    out = copy.deepcopy(body)
    inner = out
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return out


TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["", " ", "\x00", "\ud800", "undefined", "NaN", "²", "x" * 70_000, "anon_", "2026", "denied", "m1:context", "1e5"]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 10**13, 1795428000000, 2**64, 10**400, 17.0])
JSON: Any = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


def check(door: Door, body: Any, path: str, key: str | None) -> None:
    """Post it and hold the answer against what reached Kafka."""
    door.kept.queued.clear()
    answer = door.post(json.dumps(body).encode(), path, key=key)
    assert set(door.kept.reasons()) <= {None}
    if answer.status_code != 200:
        assert error_of(answer)[0] in (400, 401, 403, 413)
        assert door.kept.queued == []
        return
    told = answer.json()
    written = {record["message_id"] for _, record in door.kept.records()}
    assert set(told["message_ids"]) <= written
    n_calls = len(body["batch"]) if path.endswith("batch") else 1
    assert told["accepted"] == len(told["message_ids"]) == n_calls - len(told.get("errors", []))


slow_is_fine = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("rules", RULES, ids=["lenient", "strict"])
@slow_is_fine
@given(
    value=JSON,
    place=st.sampled_from(places(CALL)),
    kind=st.sampled_from(sorted({kind for kind in DOORS.values() if kind != "batch"})),
    key=st.sampled_from([SECRET, PUBLISHABLE]),
)
def test_any_value_at_any_place_of_a_call(rules: Rules, value: Any, place: Place, kind: str, key: str) -> None:
    check(Door(rules, address_requests_per_s=0), put(CALL, place, value), f"/v1/{kind}", key)


@pytest.mark.parametrize("rules", RULES, ids=["lenient", "strict"])
@slow_is_fine
@given(value=JSON, place=st.sampled_from(places(BATCH)), key=st.sampled_from([SECRET, PUBLISHABLE, None]))
def test_any_value_at_any_place_of_a_batch(rules: Rules, value: Any, place: Place, key: str | None) -> None:
    check(Door(rules, address_requests_per_s=0), put(BATCH, place, value), "/v1/batch", key)


@slow_is_fine
@given(added=st.dictionaries(st.sampled_from([*CALL, "type"]) | TEXTS, JSON, max_size=6))
def test_several_odd_values_together(added: dict[str, Any]) -> None:
    check(Door(address_requests_per_s=0), {**CALL, **added}, "/v1/identify", SECRET)


@slow_is_fine
@given(name=TEXTS, value=JSON, where=st.sampled_from(["properties", "traits", "context"]))
def test_any_name_of_a_property_trait_or_field_of_the_context(name: str, value: Any, where: str) -> None:
    check(Door(address_requests_per_s=0), put(CALL, (where, name), value), "/v1/identify", SECRET)


@pytest.mark.parametrize("change", ["drop", "null", "list", "text", "number", "object"])
def test_every_place_without_a_value_or_with_one_of_each_kind(change: str) -> None:
    values = {"null": None, "list": ["x"], "text": "x", "number": 7, "object": {"x": 1}}
    door = Door(RULES[1], address_requests_per_s=0)
    for place in places(BATCH)[1:]:
        body = copy.deepcopy(BATCH)
        inner = body
        for key in place[:-1]:
            inner = inner[key]
        if change == "drop":
            del inner[place[-1]]
        else:
            inner[place[-1]] = values[change]
        check(door, body, "/v1/batch", PUBLISHABLE)

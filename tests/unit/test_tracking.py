"""Tracking calls to records: who, what, when, where to; and what is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstmile.clock import to_us
from firstmile.names import CONTEXT, PROFILES, SYSTEM_LOGS, USER_ACTIONS
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from pipelines.call_fields import CallError
from pipelines.call_times import corrected_us
from pipelines.consent import ConsentRule
from pipelines.derived_ids import derived_id, sent_id
from pipelines.internal_users import InternalUsers
from pipelines.rules import Rules
from pipelines.tracking import Arrival, Mapped, Repeats, map_call

RECEIVED_US = to_us(datetime(2026, 11, 23, 12, tzinfo=UTC))
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"


def mapped(arrival: Arrival | None = None, **call: Any) -> Mapped:
    """A track call of user u1 with defaults, as records."""
    given_call = {"type": "track", "userId": "u1", "event": "Form Submitted", **call}
    return map_call(given_call, arrival or Arrival(RECEIVED_US), new_id=lambda: "new-id")


def refused(**call: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        mapped(**call)
    return caught.value


def test_track_call_becomes_a_user_action() -> None:
    properties = {"step": "profile", "fields": 3, "first": True, "gone": None, "tags": ["a"]}
    found = mapped(messageId="m1", anonymousId="a1", properties=properties)
    assert found.records == [
        (
            USER_ACTIONS,
            {
                "message_id": "m1",
                "user_id": "u1",
                "anonymous_id": "a1",
                "type": "track",
                "name": "Form Submitted",
                "event_time": RECEIVED_US,
                "sent_at": None,
                "received_at": RECEIVED_US,
                "weight": 1,
                "user_agent": None,
                "consent": None,
                "is_clamped": False,
                "properties": {"step": "profile", "fields": "3", "first": "true", "tags": '["a"]'},
            },
        )
    ]


def test_call_without_a_message_id_is_given_one_and_anonymous_users_are_their_anonymous_id() -> None:
    found = mapped(userId=None, anonymousId="a1")
    assert (found.message_id, found.user_id) == ("new-id", "a1")
    assert mapped(userId=17).user_id == "17"


@pytest.mark.parametrize(
    ("call", "name", "page"),
    [
        ({"properties": {"path": "/welcome"}}, "Page Viewed", "/welcome"),
        ({"name": "Home"}, "Page Viewed", "Home"),
        ({"properties": {"path": "/a", "page": "b"}, "name": "Home"}, "Page Viewed", "b"),
        ({"context": {"page": {"path": "/c"}}}, "Page Viewed", "/c"),
        ({"event": "Tour Viewed"}, "Tour Viewed", None),
    ],
)
def test_page_call_says_which_page(call: dict[str, Any], name: str, page: str | None) -> None:
    record = map_call({"type": "page", "userId": "u1", **call}, Arrival(RECEIVED_US), new_id=str).records[0][1]
    assert record["name"] == name
    assert record["properties"].get("page") == page


@pytest.mark.parametrize("call", [{"type": "log"}, {"properties": {"source": "server"}}])
def test_server_side_calls_go_to_the_system_logs_without_a_context(call: dict[str, Any]) -> None:
    found = mapped(**call, event="Server Error", context={"os": {"name": "Linux"}})
    assert [topic for topic, _ in found.records] == [SYSTEM_LOGS]


def test_identify_gives_an_event_and_a_profile_of_texts() -> None:
    found = mapped(type="identify", event=None, messageId="m1", traits={"plan": "pro", "seats": 3, "x": None})
    (topic, event), (profile_topic, profile) = found.records
    assert (topic, event["name"], event["type"], event["properties"]) == (USER_ACTIONS, "identify", "identify", {})
    assert profile_topic == PROFILES
    assert profile == {
        "message_id": "m1:profile",
        "user_id": "u1",
        "updated_at": RECEIVED_US,
        "received_at": RECEIVED_US,
        "traits": {"plan": "pro", "seats": "3", "x": ""},  # null: the trait is removed
    }


def test_identifys_context_holds_traits_and_the_calls_own_go_over_them() -> None:
    said = {"context": {"traits": {"plan": "free", "role": "admin", "old": None}}, "traits": {"plan": "pro"}}
    found = mapped(Arrival(RECEIVED_US, context={"traits": {"of": "others"}}), type="identify", event=None, **said)
    assert [r["traits"] for t, r in found.records if t == PROFILES] == [{"plan": "pro", "role": "admin", "old": ""}]
    assert [t for t, _ in mapped(**said).records] == [USER_ACTIONS]
    odd = mapped(type="identify", context={"traits": "x"})
    assert [t for t, _ in odd.records] == [USER_ACTIONS]


def test_identify_without_traits_changes_no_profile() -> None:
    assert [topic for topic, _ in mapped(type="identify").records] == [USER_ACTIONS]


@pytest.mark.parametrize("name", [*AUDIT_ATTRIBUTES, "Gender", "age band", "IMD-Band"])
def test_audit_attributes_are_left_out_of_the_profile_and_noted(name: str) -> None:
    found = mapped(type="identify", traits={"plan": "pro", name: "said-value"})
    assert [record["traits"] for topic, record in found.records if topic == PROFILES] == [{"plan": "pro"}]
    (note,) = found.notes
    assert note.code == "audit_attribute"
    assert name in note.message
    assert "said-value" not in note.message


def test_context_is_observed_as_an_event_of_its_own() -> None:
    context = {
        "userAgent": CHROME,
        "locale": "en-GB",
        "campaign": {"name": "spring", "source": "x"},
        "page": {"referrer": "https://www.example.org/path?person=ann"},
        "network": {"cellular": False, "wifi": True},
        "location": {"country": "GB"},
        "traits": {"gender": "F"},
    }
    (_, event), (topic, observed) = mapped(messageId="m1", context=context).records
    assert topic == CONTEXT
    assert (observed["message_id"], observed["name"]) == ("m1:context", "Context Observed")
    assert observed["event_time"] == event["event_time"]
    assert observed["properties"] == {
        "device": "desktop",
        "os": "windows",
        "browser": "chrome",
        "locale": "en-GB",
        "country": "GB",
        "campaign": "spring",
        "referrer": "www.example.org",
        "connection": "wifi",
    }


def test_an_id_that_looks_like_a_derived_one_counts_and_stays_the_same_when_sent_again() -> None:
    context = {"locale": "en-GB"}
    said = ["x", "x:context", "x:context~", "x:profile", "x:context:context", "x:context~:context"]
    calls = [mapped(type="identify", messageId=i, context=context, traits={"a": 1}) for i in said]
    ids = [record["message_id"] for call in calls for _, record in call.records]
    assert len(set(ids)) == len(ids) == 3 * len(said)
    again = [mapped(type="identify", messageId=i, context=context, traits={"a": 1}) for i in said]
    assert [record["message_id"] for call in again for _, record in call.records] == ids
    assert calls[0].message_id == "x"


@given(
    said=st.sets(st.text(":~xcontext", min_size=1), max_size=9)
    | st.sets(st.from_regex(r"x?(:context~?)*", fullmatch=True))
)
def test_ids_of_different_messages_never_meet(said: set[str]) -> None:
    written = [sent_id(i) for i in said]
    ids = [*written, *(derived_id(i, what) for i in written for what in ("context", "profile"))]
    assert len(set(ids)) == 3 * len(said)


def test_a_context_that_says_nothing_is_not_observed() -> None:
    assert len(mapped(context={"library": {"name": "sdk"}, "ip": "192.0.2.1"}).records) == 1


def test_context_of_the_request_holds_for_events_without_one_and_repeats_are_left_out() -> None:
    arrival = Arrival(RECEIVED_US, context={"locale": "en-GB"})
    calls = [mapped(arrival, userId=user) for user in ("u1", "u1", "u2")]
    calls.append(mapped(arrival, context={"locale": "cy-GB"}))
    repeats, observed = Repeats(), []
    for call in calls:
        observed += [(r["user_id"], r["properties"]["locale"]) for t, r in repeats.without(call) if t == CONTEXT]
        repeats.remember(call)
    assert observed == [("u1", "en-GB"), ("u2", "en-GB"), ("u1", "cy-GB")]


def test_user_agent_travels_with_the_event_and_its_context() -> None:
    records = mapped(context={"userAgent": CHROME}).records
    assert [(topic, record["user_agent"]) for topic, record in records] == [(USER_ACTIONS, CHROME), (CONTEXT, CHROME)]
    assert len(mapped(context={"userAgent": "x" * 5_000}).records[0][1]["user_agent"]) == 512


@pytest.mark.parametrize(
    ("of_request", "context", "found"),
    [
        (CHROME, {}, CHROME),
        (CHROME, {"userAgent": "SaidByClient/1"}, "SaidByClient/1"),
        ("Java/17", {}, None),  # a server that passes calls on; ua-parser takes it for a robot
        ("python-requests/2.32", {"userAgent": 7}, None),
        (None, {}, None),
    ],
)
def test_the_requests_own_user_agent_stands_in_when_it_is_a_browsers(
    of_request: str | None, context: dict[str, Any], found: str | None
) -> None:
    arrival = Arrival(RECEIVED_US, user_agent=of_request)
    assert mapped(arrival, context=context).records[0][1]["user_agent"] == found


@pytest.mark.parametrize("call", [{"type": "log"}, {"properties": {"source": "server"}}])
def test_a_servers_user_agent_is_not_its_users_but_consent_is(call: dict[str, Any]) -> None:
    arrival = Arrival(RECEIVED_US, user_agent=CHROME)
    ((_, record),) = mapped(arrival, **call, context={"userAgent": CHROME, "consent": False}).records
    assert (record["user_agent"], record["consent"]) == (None, False)


@pytest.mark.parametrize(
    ("consent", "found"),
    [
        (True, True),
        (False, False),
        (None, None),
        ({}, None),
        ({"categoryPreferences": {}}, None),
        ({"categoryPreferences": {"Analytics": True, "Advertising": False}}, True),
        ({"categoryPreferences": {"Analytics": False, "Advertising": True}}, False),
        ({"categoryPreferences": {"Advertising": False}}, None),
        ({"categoryPreferences": {"Analytics": None}}, None),
    ],
)
def test_consent_is_read_in_segments_form_or_as_a_boolean(consent: Any, found: bool | None) -> None:
    records = mapped(context={"consent": consent, "locale": "en-GB"}).records
    assert [record["consent"] for _, record in records] == [found, found]
    of_batch = mapped(Arrival(RECEIVED_US, context={"consent": consent}))
    assert of_batch.records[0][1]["consent"] == found


def test_the_category_that_counts_is_the_rules_one() -> None:
    arrival = Arrival(RECEIVED_US, rules=Rules(consent=ConsentRule(("Personalization",))))
    said = {"consent": {"categoryPreferences": {"Analytics": True, "Personalization": False}}}
    assert mapped(arrival, context=said).records[0][1]["consent"] is False


@pytest.mark.parametrize(
    ("is_required", "consent", "topics"),
    [
        (False, None, [USER_ACTIONS, PROFILES]),
        (False, True, [USER_ACTIONS, PROFILES]),
        (False, False, [USER_ACTIONS]),
        (True, None, [USER_ACTIONS]),
        (True, True, [USER_ACTIONS, PROFILES]),
    ],
)
def test_a_profile_needs_the_consent_its_event_needs(
    is_required: bool, consent: bool | None, topics: list[str]
) -> None:
    arrival = Arrival(RECEIVED_US, rules=Rules(consent=ConsentRule(is_required=is_required)))
    found = mapped(arrival, type="identify", traits={"plan": "pro"}, context={"consent": consent})
    assert [topic for topic, _ in found.records] == topics


def test_an_internal_e_mail_in_traits_leaves_its_domain_with_the_event_and_no_other_does() -> None:
    ours = Rules(internal=InternalUsers(email_domains=("firstmile.io",), email_properties=("email",)))
    arrival = Arrival(RECEIVED_US, rules=ours)
    found = mapped(arrival, context={"traits": {"email": "Ann@firstmile.io"}}).records[0][1]
    assert found["properties"] == {"email_domain": "firstmile.io"}
    identified = mapped(arrival, type="identify", traits={"email": "ann@firstmile.io"}).records[0][1]
    assert identified["properties"] == {"email_domain": "firstmile.io"}
    assert mapped(arrival, context={"traits": {"email": "bob@customer.org"}}).records[0][1]["properties"] == {}


@given(offset_us=st.integers(-(10**15), 10**15), age_us=st.integers(0, 10**9), latency_us=st.integers(0, 10**7))
def test_a_wrong_client_clock_is_put_right(offset_us: int, age_us: int, latency_us: int) -> None:
    happened = RECEIVED_US - latency_us - age_us
    timestamp, sent = happened + offset_us, happened + age_us + offset_us
    found = corrected_us(timestamp, sent, RECEIVED_US)
    assert found == happened + latency_us  # the way cannot be told from the clock
    assert found <= RECEIVED_US


def test_client_times_are_read_and_clamped() -> None:
    late = mapped(timestamp="2026-11-23T13:00:00Z").records[0][1]
    assert (late["event_time"], late["is_clamped"]) == (RECEIVED_US, True)
    early = mapped(timestamp="2026-11-23T11:00:00.250", sentAt="2026-11-23T12:30:00+00:30").records[0][1]
    assert early["event_time"] == RECEIVED_US - 3_600_000_000 + 250_000
    assert (early["sent_at"], early["is_clamped"]) == (RECEIVED_US, False)
    of_batch = mapped(Arrival(RECEIVED_US, RECEIVED_US - 7_200_000_000), timestamp="2026-11-23T09:59:00Z")
    assert of_batch.records[0][1]["event_time"] == RECEIVED_US - 60_000_000


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ({"userId": None}, "missing_id"),
        ({"userId": "", "anonymousId": ""}, "missing_id"),
        ({"userId": "u" * 257}, "bad_id"),
        ({"userId": True}, "bad_id"),
        ({"userId": {"id": 1}}, "bad_id"),
        ({"userId": "u\x00"}, "bad_id"),
        ({"userId": "undefined", "anonymousId": "a1"}, "placeholder_id"),
        ({"userId": None, "anonymousId": "[object Object]"}, "placeholder_id"),
        ({"type": "merge"}, "unknown_type"),
        ({"type": None}, "unknown_type"),
        ({"type": ["track"]}, "unknown_type"),
        ({"event": None}, "bad_event_name"),
        ({"event": "  "}, "bad_event_name"),
        ({"event": "e" * 257}, "bad_event_name"),
        ({"type": "page", "event": 3}, "bad_event_name"),
        ({"properties": [1]}, "bad_properties"),
        ({"context": "x"}, "bad_context"),
        ({"type": "identify", "traits": "x"}, "bad_traits"),
        ({"timestamp": "yesterday"}, "bad_time"),
        ({"timestamp": True}, "bad_time"),
        ({"timestamp": 0}, "bad_time"),
        ({"originalTimestamp": "yesterday"}, "bad_time"),
        ({"timestamp": "0001-01-01T00:00:00+23:00"}, "bad_time"),
        ({"timestamp": "1969-12-31T00:00:00Z"}, "bad_time"),
        ({"timestamp": "9999-12-31T23:59:59-23:00"}, "bad_time"),
        ({"timestamp": "1970-01-02T00:00:00Z", "sentAt": "9999-01-01T00:00:00Z"}, "bad_time"),
    ],
)
def test_a_bad_call_is_refused_with_its_reason(call: dict[str, Any], code: str) -> None:
    error = refused(**call)
    assert error.code == code
    assert set(error.as_json()) == {"code", "message", "hint"}
    assert all(error.as_json().values())


@pytest.mark.parametrize("call", [None, 3, "x", []])
def test_what_is_no_object_is_refused(call: Any) -> None:
    with pytest.raises(CallError, match="an event is a JSON object"):
        map_call(call, Arrival(RECEIVED_US), new_id=str)

"""Tracking calls (the body form of Segment and RudderStack) to records: pure, no clock, no network.

track, page     onboarding.user-actions; a page call without an event name is "Page Viewed"
log             onboarding.system-logs, as is a track call with the property source=server
identify        onboarding.user-actions, and crm.profiles when it has traits and consent does not forbid it
context given   onboarding.context as well, "Context Observed"; a server's context is not its user's
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from firstmile.names import CONTEXT, PROFILES, SYSTEM_LOGS, USER_ACTIONS
from firstmile.wire import Record
from pipelines.call_fields import CallError, as_texts, id_of, instant_us, name_of, object_of
from pipelines.client_context import context_facts
from pipelines.crm_export import audit_name
from pipelines.internal_users import EMAIL_DOMAIN
from pipelines.rules import Rules

TYPES: Final = ("track", "page", "identify", "log")
DEFAULT_NAMES: Final = {"page": "Page Viewed", "identify": "identify"}
CONTEXT_OBSERVED: Final = "Context Observed"
MAX_AGENT_CHARS: Final = 512
BROWSERS: Final = "Mozilla/"
"""Every browser's user agent, and that of robots that run pages, begins so; a server's HTTP library's does not."""


@dataclass(frozen=True)
class Arrival:
    """What is the same for all calls of a request.

    user_agent
        Of the request itself: stands in for a call that does not say its client's, when it is a browser's.
    rules
        What counts as consent, and which e-mail domains are internal.
    """

    received_us: int
    sent_at: Any = None
    context: Mapping[str, Any] | None = None
    user_agent: str | None = None
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True)
class Mapped:
    """A call as records, (topic, record) each; the first is the event itself."""

    message_id: str
    user_id: str
    records: list[tuple[str, Record]]


def map_call(call: Any, arrival: Arrival, *, new_id: Callable[[], str]) -> Mapped:
    """One tracking call as records. Raises CallError saying what is wrong with it."""
    if not isinstance(call, Mapping):
        raise CallError("bad_event", f"an event is a JSON object, not {type(call).__name__}", "send objects")
    kind = call.get("type")
    if kind not in TYPES:
        raise CallError("unknown_type", f"unknown event type {kind!r:.60}", f"known types: {', '.join(TYPES)}")
    context = {**(arrival.context or {}), **object_of(call, "context")}
    event = _event(call, kind, arrival, new_id) | {"consent": arrival.rules.consent.said(context)}
    event["properties"] |= _email_domain(call, context, arrival.rules)
    is_server = kind == "log" or (kind == "track" and event["properties"].get("source") == "server")
    if not is_server:
        event["user_agent"] = _user_agent(context, arrival)
    records = [(SYSTEM_LOGS if is_server else USER_ACTIONS, event)]
    if kind == "identify":
        profile = _profile(event, call)
        # A profile has no field for consent: it is kept back here. The event goes on, to be counted by the stream.
        records += [] if arrival.rules.consent.refuses(event["consent"]) else profile
    if not is_server:
        records += _context(event, context)
    return Mapped(event["message_id"], event["user_id"], records)


def without_repeats(mapped: Sequence[Mapped]) -> Iterator[tuple[str, Record]]:
    """All records, but a context only when it differs from the user's last one in the request."""
    last: dict[str, dict[str, str]] = {}
    for call in mapped:
        for topic, record in call.records:
            if topic == CONTEXT:
                if last.get(call.user_id) == record["properties"]:
                    continue
                last[call.user_id] = record["properties"]
            yield topic, record


def event_time_us(timestamp_us: int | None, sent_us: int | None, received_us: int) -> int:
    """When it happened by our clock: the client's clock was off by what lies between its sending and our receiving.

    A call without a timestamp happened when it was received; none happens later than that.

    >>> event_time_us(1_000, 1_500, 9_500), event_time_us(1_000, None, 9_500), event_time_us(99_000, None, 9_500)
    (9000, 1000, 9500)
    """
    if timestamp_us is None:
        return received_us
    return min(_corrected_us(timestamp_us, sent_us, received_us), received_us)


def _corrected_us(timestamp_us: int, sent_us: int | None, received_us: int) -> int:
    corrected_us = timestamp_us + (received_us - sent_us) if sent_us is not None else timestamp_us
    if corrected_us < 0:
        raise CallError(
            "bad_time", "timestamp and sentAt put the event before 1970", "send both by the same clock, or neither"
        )
    return corrected_us


def _event(call: Mapping[str, Any], kind: str, arrival: Arrival, new_id: Callable[[], str]) -> Record:
    user_id, anonymous_id = id_of(call, "userId"), id_of(call, "anonymousId")
    if user_id is None and anonymous_id is None:
        raise CallError("missing_id", "neither userId nor anonymousId is given", "send at least one of them")
    sent_us = instant_us(call.get("sentAt") or arrival.sent_at, "sentAt")
    timestamp_us, received_us = instant_us(call.get("timestamp"), "timestamp"), arrival.received_us
    properties = as_texts(object_of(call, "properties"))
    return {
        "message_id": id_of(call, "messageId") or new_id(),
        "user_id": user_id or anonymous_id,
        "anonymous_id": anonymous_id,
        "type": kind,
        "name": DEFAULT_NAMES["identify"] if kind == "identify" else name_of(call, DEFAULT_NAMES.get(kind)),
        "event_time": event_time_us(timestamp_us, sent_us, received_us),
        "sent_at": sent_us,
        "received_at": received_us,
        "weight": 1,
        "user_agent": None,
        "is_clamped": timestamp_us is not None and _corrected_us(timestamp_us, sent_us, received_us) > received_us,
        "properties": properties if kind != "page" else {**properties, **_page(properties, call)},
    }


def _page(properties: Mapping[str, str], call: Mapping[str, Any]) -> dict[str, str]:
    """Which page: as the properties say, else its path, else the path in the context, else the call's name."""
    in_context = object_of(call, "context").get("page")
    path = in_context.get("path") if isinstance(in_context, Mapping) else None
    candidates = (properties.get("page"), properties.get("path"), path, call.get("name"))
    found = next((c for c in candidates if isinstance(c, str) and c), None)
    return {} if found is None else {"page": found}


def _profile(event: Record, call: Mapping[str, Any]) -> list[tuple[str, Record]]:
    traits = object_of(call, "traits")
    audited = sorted(name for name in traits if audit_name(str(name)))
    if audited:
        raise CallError(
            "audit_attribute",
            f"{', '.join(audited)}: audit attributes, which no profile may hold",
            "leave them out; `firstmile profiles import` takes them, for audits alone",
        )
    texts = as_texts(traits)
    record = {
        "message_id": f"{event['message_id']}:profile",
        "user_id": event["user_id"],
        "updated_at": event["event_time"],
        "received_at": event["received_at"],
        "traits": texts,
    }
    return [(PROFILES, record)] if texts else []


def _context(event: Record, context: Mapping[str, Any]) -> list[tuple[str, Record]]:
    facts = context_facts(context)
    # An id of its own: the event and its context are two messages, and neither is a duplicate of the other.
    said = {"message_id": f"{event['message_id']}:context", "type": "track", "name": CONTEXT_OBSERVED}
    return [(CONTEXT, {**event, **said, "properties": facts})] if facts else []


def _user_agent(context: Mapping[str, Any], arrival: Arrival) -> str | None:
    said = context.get("userAgent")
    if isinstance(said, str) and said.strip():
        return said[:MAX_AGENT_CHARS]
    given = arrival.user_agent or ""
    return given[:MAX_AGENT_CHARS] if given.startswith(BROWSERS) else None


def _email_domain(call: Mapping[str, Any], context: Mapping[str, Any], rules: Rules) -> dict[str, str]:
    """The domain of a trait's e-mail when the rules name it: the stream knows by it whom to leave out."""
    said = context.get("traits")
    traits = {**(said if isinstance(said, Mapping) else {}), **object_of(call, "traits")}
    domain = rules.internal.domain_of(traits)
    return {} if domain is None else {EMAIL_DOMAIN: domain}

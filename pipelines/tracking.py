"""Tracking calls (the body form of Segment and RudderStack) to records: pure, no clock, no network.

track           onboarding.user-actions
page, screen    the same; a page call without an event name is "Page Viewed", a screen is "Screen Viewed"
group, alias    the same, not counted; nothing is merged yet
log             onboarding.system-logs, as is a track call with the property source=server
identify        onboarding.user-actions, and crm.profiles when it has traits and consent does not forbid it
context given   onboarding.context as well, "Context Observed"; a server's context is not its user's
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from firstmile.names import CONTEXT, SYSTEM_LOGS, USER_ACTIONS
from firstmile.wire import Record
from pipelines.call_fields import CallError, id_of, name_of, object_of, plain, shown
from pipelines.call_names import CONTEXT_OBSERVED, DEFAULT_NAMES, TYPES, name_is_fixed
from pipelines.call_profile import profile_of
from pipelines.call_properties import page_of, properties_of
from pipelines.call_times import times_of
from pipelines.client_context import context_facts
from pipelines.derived_ids import derived_id, sent_id
from pipelines.internal_users import EMAIL_DOMAIN
from pipelines.notes import Note
from pipelines.page_access import PageWriter, user_hash_of
from pipelines.rules import Rules

CONTENT_FIELDS: Final = ("content_id", "contentId")
"""As shipped."""
MAX_AGENT_CHARS: Final = 512
BROWSERS: Final = "Mozilla/"
"""Every browser's user agent, and that of robots that run pages, begins so; a server's HTTP library's does not."""


@dataclass(frozen=True)
class Arrival:
    """What is the same for all calls of a request.

    received_us
        When the request was received.
    sent_us
        When it was sent, by the client's clock.
    user_agent
        Of the request itself: stands in for a call that does not say its client's, when it is a browser's.
    rules
        What counts as consent, and which e-mail domains are internal.
    content_fields
        Properties that hold the id of a content, by events.yaml.
    """

    received_us: int
    sent_us: int | None = None
    context: Mapping[str, Any] | None = None
    user_agent: str | None = None
    rules: Rules = field(default_factory=Rules)
    content_fields: Sequence[str] = CONTENT_FIELDS


@dataclass(frozen=True)
class Mapped:
    """A call as records, (topic, record) each; the first is the event itself.

    notes
        What of the call was not used as it was sent.
    """

    message_id: str
    user_id: str
    records: list[tuple[str, Record]]
    notes: list[Note] = field(default_factory=list)


def map_call(
    call: Any, arrival: Arrival, *, new_id: Callable[[], str], index: int = 0, writer: PageWriter | None = None
) -> Mapped:
    """One tracking call as records.

    index
        Of the call in its request.
    writer
        Of a call with a publishable key; None: a server's, which writes for anybody.

    Raises RefusalError saying what is wrong with the call.
    """
    if not isinstance(call, Mapping):
        raise CallError("bad_event", f"an event is a JSON object, not {type(call).__name__}", "send objects")
    kind = call.get("type")
    if kind not in TYPES:
        raise CallError("unknown_type", f"unknown event type {shown(kind)}", f"known types: {', '.join(TYPES)}")
    if kind == "log" and writer is not None:
        hint = "send it from a server with a secret key"
        raise CallError("server_only", "log calls are what a server did, and a page sent one", hint, status=403)
    notes: list[Note] = []
    context = {**(arrival.context or {}), **object_of(call, "context")}
    user_id, anonymous_id = _who(call, context, writer, notes)
    event = {
        "message_id": sent_id(_message_id(call, notes) or new_id()),
        "user_id": user_id or anonymous_id,
        "anonymous_id": anonymous_id,
        **_event(call, context, arrival=arrival, index=index, notes=notes),
        "consent": arrival.rules.consent.said(context, notes),
    }
    event["properties"] |= _email_domain(call, context, arrival.rules)
    says_server = kind == "track" and event["properties"].get("source") == "server"
    is_server = kind == "log" or (says_server and writer is None)
    if not is_server:
        event["user_agent"] = _user_agent(context, arrival)
    records = [(SYSTEM_LOGS if is_server else USER_ACTIONS, event)]
    if kind == "identify":
        profile = profile_of(event, call, writer, notes)
        # A profile has no field for consent: it is kept back here. The event goes on, to be counted by the stream.
        records += [] if arrival.rules.consent.refuses(event["consent"]) else profile
    if not is_server:
        records += _context(event, context)
    return Mapped(event["message_id"], event["user_id"], records, notes)


class Repeats:
    """Leaves a context out that is the user's last one in the same request."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, str]] = {}

    def without(self, mapped: Mapped) -> list[tuple[str, Record]]:
        """The records of a call that say something new."""
        last = self._last.get(mapped.user_id)
        return [(t, r) for t, r in mapped.records if t != CONTEXT or r["properties"] != last]

    def remember(self, mapped: Mapped) -> None:
        """The call was taken."""
        for topic, record in mapped.records:
            if topic == CONTEXT:
                self._last[mapped.user_id] = record["properties"]


def _who(
    call: Mapping[str, Any], context: Mapping[str, Any], writer: PageWriter | None, notes: list[Note]
) -> tuple[str | None, str | None]:
    """user_id and anonymous_id, proven where they have to be."""
    user_id, anonymous_id = id_of(call, "userId"), None
    try:
        anonymous_id = id_of(call, "anonymousId")
    except CallError as error:
        if user_id is None:
            raise
        notes.append(Note("bad_anonymous_id", f"left out: {error.message}", error.hint))
    if user_id is None and anonymous_id is None:
        raise CallError("missing_id", "neither userId nor anonymousId is given", "send at least one of them")
    if writer is not None:
        anonymous_id = writer.proven(user_id, anonymous_id, user_hash_of(call, context), notes)
    return user_id, anonymous_id


def _message_id(call: Mapping[str, Any], notes: list[Note]) -> str | None:
    try:
        return id_of(call, "messageId")
    except CallError as error:
        message = f"left out, so that the event counts again when it is sent again: {error.message}"
        notes.append(Note("bad_message_id", message, error.hint))
        return None


def _event(
    call: Mapping[str, Any], context: Mapping[str, Any], *, arrival: Arrival, index: int, notes: list[Note]
) -> Record:
    """What happened, and when."""
    times = times_of(call, sent_us=arrival.sent_us, request_us=arrival.received_us, index=index, notes=notes)
    properties = properties_of(call, content_fields=arrival.content_fields, now_us=arrival.received_us, notes=notes)
    kind, default = call["type"], DEFAULT_NAMES.get(call["type"])
    return {
        "type": kind,
        "name": default if name_is_fixed(kind) else name_of(call, default),
        "event_time": times.event_us,
        "sent_at": times.sent_us,
        "received_at": times.received_us,
        "weight": 1,
        "user_agent": None,
        "is_clamped": times.is_clamped,
        "properties": properties | (page_of(call, context, properties) if kind in ("page", "screen") else {}),
    }


def _context(event: Record, context: Mapping[str, Any]) -> list[tuple[str, Record]]:
    facts = context_facts(context)
    # An id of its own: the event and its context are two messages, and neither is a duplicate of the other.
    said = {
        "message_id": derived_id(event["message_id"], "context"),
        "type": "track",
        "name": CONTEXT_OBSERVED,
    }
    return [(CONTEXT, {**event, **said, "properties": facts})] if facts else []


def _user_agent(context: Mapping[str, Any], arrival: Arrival) -> str | None:
    said = context.get("userAgent")
    if isinstance(said, str) and said.strip():
        return plain(said[:MAX_AGENT_CHARS])
    given = arrival.user_agent or ""
    return given[:MAX_AGENT_CHARS] if given.startswith(BROWSERS) else None


def _email_domain(call: Mapping[str, Any], context: Mapping[str, Any], rules: Rules) -> dict[str, str]:
    """The domain of a trait's e-mail when the rules name it: the stream knows by it whom to leave out."""
    said = context.get("traits")
    traits = {**(said if isinstance(said, Mapping) else {}), **object_of(call, "traits")}
    domain = rules.internal.domain_of(traits)
    return {} if domain is None else {EMAIL_DOMAIN: domain}

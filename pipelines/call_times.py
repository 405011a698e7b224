"""When a call happened, by our clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.bounds import EARLIEST_US
from pipelines.call_fields import CallError
from pipelines.client_times import instant_us
from pipelines.notes import Note


@dataclass(frozen=True)
class CallTimes:
    """Times of a call, µs since epoch.

    sent_us
        By the client's clock; None when it says none, or one that its event cannot be put right by.
    is_clamped
        It was said to have happened after it was received.
    """

    event_us: int
    sent_us: int | None
    received_us: int
    is_clamped: bool


def times_of(
    call: Mapping[str, Any], *, sent_us: int | None, request_us: int, index: int, notes: list[Note]
) -> CallTimes:
    """Times of the call at a place in a request.

    sent_us
        Of the request, for calls that do not say their own.
    request_us
        When the request was received. Its calls count up from it by 1 µs, so that the later of two is later.

    Raises CallError for a timestamp that is none, or lies before anything we read happened.
    """
    received_us = request_us + index
    own_us = sent_at_us(call, notes)
    sent_us = sent_us if own_us is None else own_us
    said_us = instant_us(call.get("timestamp"), "timestamp")
    if said_us is None:  # RudderStack's clients say it so
        said_us = instant_us(call.get("originalTimestamp"), "originalTimestamp")
    if said_us is None:
        return CallTimes(received_us, sent_us, received_us, is_clamped=False)
    happened_us = corrected_us(said_us, sent_us, request_us)
    if happened_us < EARLIEST_US <= said_us:
        notes.append(_bad_sent_at("puts the event before 2005"))
        happened_us, sent_us = said_us, None
    if happened_us < EARLIEST_US:
        hint = "send the time it happened, and sentAt by the same clock"
        raise CallError("bad_time", "timestamp and sentAt put the event before 2005", hint)
    return CallTimes(min(happened_us, request_us), sent_us, received_us, is_clamped=happened_us > request_us)


def sent_at_us(body: Mapping[str, Any], notes: list[Note]) -> int | None:
    """When it was sent by the client's clock; what is no time is noted, it costs the correction alone."""
    try:
        return instant_us(body.get("sentAt"), "sentAt")
    except CallError:
        notes.append(_bad_sent_at("is not a time of 1970 or later"))
        return None


def corrected_us(said_us: int, sent_us: int | None, received_us: int) -> int:
    """A client's time by our clock: the client's was off by what lies between its sending and our receiving.

    >>> corrected_us(1_000, 1_500, 9_500), corrected_us(1_000, None, 9_500)
    (9000, 1000)
    """
    return said_us if sent_us is None else said_us + (received_us - sent_us)


def _bad_sent_at(problem: str) -> Note:
    hint = "send sentAt by the clock that timestamp is by, as ISO 8601 text"
    return Note("bad_sent_at", f"sentAt {problem}: the client's clock was not put right", hint)

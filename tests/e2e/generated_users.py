"""A seeded history of some hundred users as it arrives at Kafka: late, twice, over all four input topics.

Short users live two hours, their events may come in any order over all topics. Long users live twelve days; what counts
of them comes in one topic, because records of two topics have no common order once a backlog is read. Either way no
event is more than two hours behind the greatest one seen before it: within the bounds, every feature is exact.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from events_builder import DAY, HOUR, MINUTE, SECOND, Event

from firstmile.names import CONTEXT, PROFILES, SYSTEM_LOGS, USER_ACTIONS
from firstmile.vocabulary import FORMATS

SHARE_LATE, SHARE_TWICE = 0.10, 0.05
FAMILY = {
    "Page Viewed": "page_view",
    "Button Clicked": "click",
    "Content Opened": "content_open",
    "Content Completed": "content_complete",
    "Step Started": "step_start",
    "Signed Up": "step_complete",
    "Server Error": "error",
    "No Such Name": "unknown",
    "Email Delivered": None,
    "Context Observed": None,
}


@dataclass(frozen=True)
class Delivery:
    """One record on its way to Kafka. `event` is None for a profile, `record` is what is encoded."""

    topic: str
    user_id: str
    received_us: int
    record: dict[str, Any]
    event: Event | None


def deliveries(*, seed: int, n_users: int, now_ms: int) -> list[Delivery]:
    """Everything in order of arrival, the last of it before now."""
    rng = random.Random(seed)
    found: list[Delivery] = []
    for user in range(n_users):
        user_id = f"g{seed}-{user}"
        is_long = user % 3 == 0
        start = now_ms - 20 * DAY + rng.randrange(6 * DAY) // MINUTE * MINUTE
        span = 12 * DAY if is_long else 2 * HOUR
        for n in range(rng.randint(10, 40)):
            found += _event(rng, user, user_id, n, start + rng.randrange(span), is_long=is_long)
        found += _profiles(rng, user_id, start)
    return sorted(found, key=lambda d: (d.received_us, d.user_id, d.record["message_id"]))


def events_by_user(sent: Sequence[Delivery], n_users: int) -> list[list[Event]]:
    """What each user did, each message once."""
    once: dict[str, Event] = {}
    for delivery in sent:
        if delivery.event is not None:
            once.setdefault(delivery.event.message_id, delivery.event)
    return [[e for e in once.values() if e.user == user] for user in range(n_users)]


def _event(rng: random.Random, user: int, user_id: str, n: int, at_ms: int, *, is_long: bool) -> Iterator[Delivery]:
    name = "Signed Up" if n == 0 else rng.choice([*FAMILY, "Page Viewed", "Content Opened"])
    if is_long and name == "Server Error":
        name = "Page Viewed"
    topic = {"Context Observed": CONTEXT, "Server Error": SYSTEM_LOGS, "Email Delivered": SYSTEM_LOGS}.get(
        name, USER_ACTIONS
    )
    properties = _properties(rng, name, at_ms)
    event = Event(
        at_ms,
        user,
        FAMILY[name],
        weight=rng.choice((1, 1, 1, 2, 30)),
        content=properties.get("content_id", ""),
        page=properties.get("page", ""),
        format=properties.get("format"),
        step=properties.get("step", ""),
        onboarding_ms=int(properties.get("onboarding_at", 0)) // 1_000,
        message_id=f"{user_id}-{n}",
    )
    arrives = [at_ms + (rng.randrange(2 * HOUR) if rng.random() < SHARE_LATE else rng.randrange(2 * SECOND))]
    if rng.random() < SHARE_TWICE:
        arrives.append(arrives[0] + rng.randrange(2 * HOUR))
    for arrival_ms in arrives:
        record = {
            "message_id": event.message_id,
            "user_id": user_id,
            "name": name,
            "event_time": at_ms * 1_000,
            "received_at": arrival_ms * 1_000,
            "weight": event.weight,
            "properties": properties,
        }
        received = replace(event, received_us=arrival_ms * 1_000)
        yield Delivery(topic, user_id, arrival_ms * 1_000, record, received)


def _properties(rng: random.Random, name: str, at_ms: int) -> dict[str, str]:
    if name in ("Content Opened", "Content Completed"):
        return {"content_id": f"c{rng.randrange(30)}", "format": rng.choice(FORMATS)}
    if name == "Page Viewed":
        return {"page": f"p{rng.randrange(30)}"}
    if name == "Step Started":
        return {"step": f"step {rng.randrange(5)}"}
    if name == "Signed Up":
        return {"onboarding_at": str((at_ms - rng.randrange(DAY)) * 1_000)}
    if name == "Context Observed":
        return {"device": f"d{at_ms}", "locale": rng.choice(("en", "de"))}
    return {}


def _profiles(rng: random.Random, user_id: str, start: int) -> Iterator[Delivery]:
    for n in range(rng.randint(1, 3)):
        updated_ms = start + rng.randrange(12 * DAY)
        received_us = (updated_ms + rng.randrange(HOUR)) * 1_000
        record = {
            "message_id": f"{user_id}-profile-{n}",
            "user_id": user_id,
            "updated_at": updated_ms * 1_000,
            "received_at": received_us,
            "traits": {"product": f"p{updated_ms}", "studied_credits": str(rng.randrange(200))},
        }
        yield Delivery(PROFILES, user_id, received_us, record, None)

"""What the demo shows of learners: who they are in the data, how two of them differ, and one who becomes active."""

import math
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from examples.oulad.demo.client import Answer, Client, comparable, timed_decide
from examples.oulad.tables import tables as oulad

N_DIFFERENCES = 8
N_OPENED = 6
POLL_S = 0.02
SHORT_WINDOW = re.compile(r"_(1m|5m|30m|1h)_")
GIVE_UP_S = 10.0
IN_TIME_S = 2.0


@dataclass(frozen=True)
class Expected:
    """What the data says of a learner up to a day: rows of the click table, and clicks (the rows' weight)."""

    n_clicks: int
    weight: int


def expected_clicks(tables: oulad.OuladTables, to_day: int) -> dict[str, Expected]:
    """By user id, learners without a click left out."""
    clicks = tables.clicks.filter(pc.less_equal(tables.clicks["date"], to_day))
    sums = clicks.group_by("user_id").aggregate([("sum_click", "sum"), ("sum_click", "count")]).to_pylist()
    return {row["user_id"]: Expected(row["sum_click_count"], row["sum_click_sum"]) for row in sums}


@dataclass(frozen=True)
class Asked:
    """One answer per learner, and what the callers saw."""

    answers: dict[str, Answer]
    latency_ms: list[float]

    def rungs(self) -> dict[str, int]:
        """Answers per rung."""
        return dict(Counter(a["rung"] for a in self.answers.values()))

    def by_probability(self) -> list[str]:
        """Learners answered by the models, least likely to be activated first."""
        scored = {u: a["activation_probability"] for u, a in self.answers.items() if a["rung"] == "model"}
        return sorted(scored, key=lambda user: (scored[user] if scored[user] is not None else -1.0, user))

    def stalled(self) -> list[str]:
        """Learners whom nothing was heard of for a while."""
        return [u for u in self.by_probability() if self.answers[u]["flow"] == "re-engage"]


def ask_all(client: Client, users: list[str]) -> Asked:
    """Ask for every learner once, one after the other."""
    answers, latency_ms = {}, []
    for user in users:
        answers[user], took_ms = timed_decide(client, user)
        latency_ms.append(took_ms)
    return Asked(answers, latency_ms)


def differences(left: dict[str, float], right: dict[str, float]) -> dict[str, list[float]]:
    """The features in which two users differ most, as [left, right]: by the difference of their logarithms.

    Windows under a day are left out: no model reads them.

    >>> differences({"a": 10.0, "b": 1.0, "c": 2.0, "d_5m_count": 9.0}, {"a": 1.0, "b": 1.0})
    {'a': [10.0, 1.0], 'c': [2.0, 0.0]}
    """
    names = [name for name in sorted({*left, *right}) if not SHORT_WINDOW.search(name)]
    pairs = {name: [left.get(name) or 0.0, right.get(name) or 0.0] for name in names}
    apart = {n: abs(math.log1p(abs(a)) - math.log1p(abs(b))) for n, (a, b) in pairs.items() if a != b}
    return {name: pairs[name] for name in sorted(apart, key=lambda n: (-apart[n], n))[:N_DIFFERENCES]}


def in_short(answer: Answer) -> dict[str, Any]:
    """The part of an answer that a person compares."""
    return {
        "rung": answer["rung"],
        "flow": answer["flow"],
        "stage": answer["segment"]["stage"],
        "skill_level": answer["segment"]["skill_level"],
        "activation_probability": answer["activation_probability"],
        "first_content": [item["content_id"] for item in answer["recommended_content"][:3]],
    }


def answer_is_repeated(client: Client, user: str) -> dict[str, Any]:
    """Ask twice: everything but what belongs to the request must be equal."""
    first, second = comparable(client.decide(user)), comparable(client.decide(user))
    unequal = [key for key in first if first[key] != second.get(key)]
    return {"ok": not unequal, "user": user, "unequal": unequal}


def become_active(client: Client, user: str) -> dict[str, Any]:
    """Send what a returning learner does, then ask until the models answer otherwise; seconds from the first byte sent.

    The learner opens the home page and what was recommended. An answer from a lower rung is no change.
    """
    before = client.decide(user)
    events = [_event(user, "page", "Page Viewed", {"page": "home"})]
    for item in before["recommended_content"][:N_OPENED]:
        opened = {"content_id": item["content_id"], "format": item["format"]}
        events.append(_event(user, "track", "Content Opened", opened))
    began = time.monotonic()
    client.track(events)
    acknowledged_s = time.monotonic() - began
    after, changed_s = before, None
    while changed_s is None and time.monotonic() - began < GIVE_UP_S:
        after = client.decide(user)
        if after["rung"] == before["rung"] == "model" and in_short(after) != in_short(before):
            changed_s = round(time.monotonic() - began, 3)
        else:
            time.sleep(POLL_S)
    return {
        "ok": changed_s is not None and changed_s <= IN_TIME_S,
        "user": user,
        "n_events": len(events),
        "acknowledged_s": round(acknowledged_s, 3),
        "answer_changed_s": changed_s,
        "before": in_short(before),
        "after": in_short(after),
    }


def _event(user: str, kind: str, name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "event": name, "userId": user, "messageId": str(uuid.uuid4()), "properties": properties}

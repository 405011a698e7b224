"""Makes up the past of the workspace product: tracking calls of users who signed up over many months.

    python examples/workspace/past.py --users 500 --months 18 > past.jsonl

What a user does follows from what nobody sees: who they are (a looker, a maker, one of a team), and which format they
like.
The same seed gives the same file, whenever it is run.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

CALLS = Iterator[dict[str, Any]]
ENDS: Final = datetime(2026, 6, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
SEEN_DAYS: Final = 60
"""The last who signed up is followed for so long."""
FORMATS: Final = {
    "clip": ["welcome-clip", "invite-clip", "project-clip", "automation-clip"],
    "howto": ["profile-howto", "invite-howto", "project-howto", "report-howto", "api-howto"],
    "blueprint": ["kanban-blueprint", "sprint-blueprint", "automation-blueprint"],
    "live-session": ["office-hours", "scale-webinar"],
}
PLANS: Final = {"free": 0.0, "team": 49.9, "business": 249.0}
ROLES: Final = ("founder", "manager", "engineer", "marketer")
INDUSTRIES: Final = ("retail", "software", "health", "media")
PAGES: Final = ("/home", "/projects", "/templates", "/settings")
TEAM_PAGES: Final = (*PAGES, "/team", "/team/roles")
KINDS: Final = {"looker": (0.2, 0.05, 0.1), "maker": (0.8, 1.4, 0.95), "team": (1.0, 0.6, 0.95)}
"""Who signs up: how eager, how skilled, and the chance to stay longer than some days."""
AUTOMATES: Final = {"looker": 0.1, "maker": 0.95, "team": 0.15}
PLANS_OF: Final = {"looker": (0.9, 0.08, 0.02), "maker": (0.5, 0.4, 0.1), "team": (0.2, 0.4, 0.4)}


def past(n_users: int, months: int, seed: int, ends: datetime = ENDS) -> CALLS:
    """Calls of all users in the order of time."""
    rng = np.random.default_rng(seed)
    first = ends - timedelta(days=30.44 * months)
    span = ends - first - SEEN_DAYS * DAY
    calls: list[dict[str, Any]] = []
    for i in range(n_users):
        began = first + span * float((i + rng.uniform()) / n_users)
        calls += _user(f"w{i:05}", began, ends, rng)
    calls.sort(key=lambda call: (call["timestamp"], call["messageId"]))
    yield from calls


def _user(user_id: str, began: datetime, ends: datetime, rng: np.random.Generator) -> list[dict[str, Any]]:
    kind = str(rng.choice(list(KINDS), p=[0.35, 0.35, 0.3]))
    eager, skill, stays = KINDS[kind]
    eager, skill = eager * rng.uniform(0.7, 1.3), skill * rng.uniform(0.6, 1.4)
    stays = float(rng.uniform(1, 6)) if rng.uniform() > stays else SEEN_DAYS
    favourite = np.eye(len(FORMATS))[rng.choice(len(FORMATS), p=[0.35, 0.3, 0.25, 0.1])]
    likes = 0.85 * favourite + 0.15 * rng.dirichlet(np.ones(len(FORMATS)))
    plan = str(rng.choice(list(PLANS), p=PLANS_OF[kind]))
    size = int(np.exp(rng.normal(4.5 if kind == "team" else 2.5, 1.2))) + 1
    role, industry = str(rng.choice(ROLES)), str(rng.choice(INDUSTRIES))
    traits = {"plan": "free", "role": role, "industry": industry, "company_size": size}
    made: list[dict[str, Any]] = []

    def call(days: float, event: str | None, said: dict[str, Any]) -> None:
        at = began + days * DAY
        if 0 <= days < stays and at < ends:
            name = {} if event is None else {"event": event}
            about = {"type": "identify" if event is None else "track", "messageId": f"{user_id}-{len(made)}"}
            key, stamp = "traits" if event is None else "properties", at.isoformat(timespec="milliseconds")
            made.append({**about, "userId": user_id, "timestamp": stamp, **name, key: said})

    def often(a_day: float, begins: float = 0.001, until: float = SEEN_DAYS) -> list[float]:
        """Days at which something is done so many times a day."""
        return sorted(rng.uniform(begins, until, rng.poisson(a_day * (until - begins))).tolist())

    call(0, None, traits)
    call(0, "Signed Up", {"path": "/signup"})
    if rng.uniform() < 0.3 + 0.5 * eager:
        call(rng.exponential(0.2), "Profile Completed", {"step": "profile"})
    for day in often(0.2 + 0.8 * eager):
        call(day, "Page Viewed", {"path": str(rng.choice(TEAM_PAGES if kind == "team" else PAGES))})
    for day in often(0.2 + 1.1 * eager):
        form = str(rng.choice(list(FORMATS), p=likes))
        what = {"content_id": str(rng.choice(FORMATS[form])), "kind": form}
        call(day, "Content Opened", what)
        if rng.uniform() < 0.5:
            call(day + 0.004, "Content Finished", what)
    for day in often(0.16 * skill):
        call(day, "Project Created", {"step": "project"})
    if rng.uniform() < AUTOMATES[kind]:
        first = float(rng.uniform(2, 29))
        for day in [first, *often(0.14 * skill, begins=first)]:
            call(day, "Automation Created", {"step": "automation"})
    if kind == "team":
        for day in [float(rng.uniform(1, 29)), *often(0.1)]:
            call(day, "Teammate Invited", {"step": "invite"})
    for day in often(0.05 * (2.0 - skill)):
        call(day, "Help Requested", {"path": "/help"})
    for day in often(0.01):
        call(day, "Client Error", {"path": str(rng.choice(PAGES))})
    if plan != "free":
        bought = float(rng.uniform(1, 25))
        call(bought, "Plan Bought", {"plan": plan})
        call(bought, None, {"plan": plan, "price_paid": PLANS[plan]})
    return made


def main() -> None:
    """Write the calls to stdout, one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--months", type=int, default=18)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--ends", type=datetime.fromisoformat, default=ENDS, help="when it ends; with an offset")
    said = parser.parse_args()
    for call in past(said.users, said.months, said.seed, said.ends):
        sys.stdout.write(json.dumps(call) + "\n")


if __name__ == "__main__":
    main()

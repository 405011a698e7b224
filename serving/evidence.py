"""What the policy looked at for one answer: into the decision log, and back out of it for a replay.

Only what rules and ranking can have used: the fields that conditions name, opens by format, the page's context, which
items of the user's shelf were done, the order the shelf came in.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstmile.vocabulary import PROFILE as WORDS
from firstmile.wire import Record
from serving.answers import Basis
from serving.facts import Facts, Seen
from serving.order import Draw, Order
from serving.policy import Policy


def evidence(policy: Policy, facts: Facts, basis: Basis) -> Record:
    """The fields of the decision's record that say what was known; a feature in the basis' vector is not said twice."""
    order, vector = facts.order, basis.vector
    return {
        "request": dict(facts.request),
        "profile": _used(policy, "profile", facts.profile, WORDS.shelf),
        "context": _used(policy, "context", facts.context),
        "facts": {
            name: float(value)
            for name in policy.used_features
            if name not in vector and (value := facts.features.get(name)) is not None
        },
        "seen": np.flatnonzero(facts.seen(policy.shelf(facts).hashes)).tolist(),
        "order_items": [] if order is None else order.items.tolist(),
        "order_scores": [] if order is None else order.scores.tolist(),
        "order_reason": "" if order is None else order.reason,
        "drawn_format": "" if facts.drawn is None else facts.drawn.format,
        "drawn_propensity": 1.0 if facts.drawn is None else facts.drawn.propensity,
        "versions": policy.versions,
    }


def facts_of(record: Record, policy: Policy, scores: Mapping[str, float]) -> Facts:
    """The facts of a record again, with these scores; by this policy's shelves.

    Items of a shelf are known by their places: where the record's content is of another version, they are other items.
    """
    found = Facts(
        features={**record["facts"], **record["features"]},
        profile=record["profile"],
        context=record["context"],
        scores=scores,
        request=record["request"],
    )
    hashes = policy.shelf(found).hashes
    done = hashes[[at for at in record["seen"] if at < len(hashes)]]
    return replace(found, seen=_among(done), order=_order(record, len(hashes)), drawn=_drawn(record))


def _used(policy: Policy, group: str, fields: Mapping[str, Any], *also: str) -> dict[str, str]:
    names = policy.used.get(group, frozenset()) | set(also)
    return {name: text for name, text in fields.items() if name in names}


def _order(record: Record, n_items: int) -> Order | None:
    if not record["order_reason"]:
        return None
    items = np.array(record["order_items"], np.int64)
    is_there = items < n_items
    scores = np.array(record["order_scores"], np.float32)[is_there]
    return Order(items[is_there], scores, record["order_reason"])


def _drawn(record: Record) -> Draw | None:
    """None of records of before formats were drawn too."""
    return Draw(record["drawn_format"], record["drawn_propensity"]) if record.get("drawn_format") else None


def _among(done: NDArray[np.int64]) -> Seen:
    return lambda hashes: np.isin(hashes, done)

"""Ranking: which content of a shelf comes first for one user."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from firstmile.vocabulary import FORMATS, SKILL_LEVELS
from firstmile.vocabulary import PROFILE as WORDS
from serving.catalogue import Content, Floats, Ints, Shelf
from serving.facts import Seen
from serving.order import DRAWN, Draw, Order
from serving.rules import Rule
from serving.selector import Mask, Selector

Chosen = Sequence[tuple[Rule, Mapping[Selector, Mask]]]
"""The rules that hold, each with the items its selectors select, shape (n_items,) each."""


@dataclass(frozen=True)
class Taste:
    """What the ranking knows of the user: probability by format, skill level, and the flow they are in."""

    preferences: Mapping[str, float]
    skill_level: str
    flow: str


@dataclass(frozen=True)
class Item:
    """One recommendation: score in [0, 1] and its reason.

    `rule:<name>`, `preference:<format>`, `flow:<flow>`, or the reason of an Order; `rule:<name>+popular:new` where a
    rule put some items first and the order chose among them.
    """

    content: Content
    score: float
    reason: str


def fit(shelf: Shelf, taste: Taste) -> Floats:
    """How well each item fits, in [0, 1], shape (n_items,)."""
    flow = WORDS.flows[taste.flow]
    by_format = np.array([taste.preferences.get(f, 0.0) for f in FORMATS])
    level_fit = shelf.level_fit(SKILL_LEVELS.index(taste.skill_level))
    liking = by_format[shelf.format] / by_format.max()
    return np.asarray(flow.format * liking + flow.level * level_fit + flow.order * (1.0 - shelf.order), np.float64)


def rank(
    shelf: Shelf,
    taste: Taste,
    chosen: Chosen,
    *,
    seen: Seen,
    limit: int,
    order: Order | None = None,
    drawn: Draw | None = None,
) -> tuple[Item, ...]:
    """The first `limit` items.

    What is done is never among them, nor what lacks a prerequisite. Required items come first and cannot be excluded;
    then what rules prioritise, in the order of the rules; then the rest; pinned ones at their place. Where no rule says
    more, the items of the format drawn come first; then the items of `order`, in its order; then by fit. Ties go to the
    earlier item of the catalogue.
    """
    required, prioritised, excluded = (_by_rule(shelf, chosen, a) for a in ("require", "prioritise", "exclude"))
    available = ~seen(shelf.hashes) & ~lacking(shelf, seen) & ((excluded < 0) | (required >= 0))
    fits = fit(shelf, taste)
    tier, score = _tiers(required, prioritised, fits if order is None else order.over(fits))
    turn = _turns(shelf, score, available) if WORDS.flows[taste.flow].alternates else np.zeros(len(score), np.int64)
    others = np.ones(len(score), bool) if drawn is None else shelf.format != FORMATS.index(drawn.format)
    line = np.lexsort((np.arange(len(score)), -score, turn, others, tier))
    line = line[available[line]]
    places = _pinned(line[required[line] < 0], chosen)
    rules = [rule.name for rule, _ in chosen]
    causes = np.where(required >= 0, required, prioritised)
    brought = {} if order is None else dict.fromkeys(order.items.tolist(), order.reason)
    items = []
    for at in _with_pins(line, places, n_required=int((required[line] >= 0).sum()), limit=limit):
        cause = places[at][1] if at in places else causes[at]
        reasons = [f"rule:{rules[cause]}"] if cause >= 0 else []
        if at not in places and required[at] < 0:
            reasons += [f"{DRAWN}:{drawn.format}"] if drawn is not None and not others[at] else []
            reasons += [brought[at]] if at in brought else []
        reason = "+".join(reasons) or _taste(shelf.items[at], taste)
        items.append(Item(shelf.items[at], round(float(score[at]), 4), reason))
    return tuple(items)


def lacking(shelf: Shelf, seen: Seen) -> Mask:
    """Which items lack a prerequisite, shape (n_items,)."""
    found = np.zeros(len(shelf.items), bool)
    for at, needed in shelf.needs:
        found[at] = not seen(needed).all()
    return found


def _tiers(required: Ints, prioritised: Ints, fits: Floats) -> tuple[Ints, Floats]:
    """Tier of each item, 0 = first, and its score: a band of [0, 1] per tier, the fit inside it; 1 when required."""
    rules = np.unique(prioritised[prioritised >= 0])
    tier = np.where(prioritised >= 0, np.searchsorted(rules, prioritised), len(rules))
    score = (len(rules) - tier + fits) / (len(rules) + 1)
    return np.where(required >= 0, 0, tier + 1), np.where(required >= 0, 1.0, score)


def _taste(content: Content, taste: Taste) -> str:
    """The reason of an item no rule asked for: its format is liked more than most, or the flow led to it."""
    is_liked = taste.preferences.get(content.format, 0.0) > 1.0 / max(len(taste.preferences), 1)
    return f"preference:{content.format}" if is_liked else f"flow:{taste.flow}"


def _by_rule(shelf: Shelf, chosen: Chosen, action: str) -> Ints:
    """Per item the index of the first rule whose action selects it, -1 = none."""
    first = np.full(len(shelf.items), -1, np.int64)
    for at, (rule, masks) in enumerate(chosen):
        selector = getattr(rule, action)
        if selector is not None:
            first[(first < 0) & masks[selector]] = at
    return first


def _turns(shelf: Shelf, score: Floats, available: Mask) -> Ints:
    """Place of each item among the available ones of its format: ordering by it first deals the formats in turn."""
    turn = np.zeros(len(score), np.int64)
    order = np.lexsort((np.arange(len(score)), -score))
    order = order[available[order]]
    for code in np.unique(shelf.format):
        own = order[shelf.format[order] == code]
        turn[own] = np.arange(len(own))
    return turn


def _pinned(order: Ints, chosen: Chosen) -> dict[int, tuple[int, int]]:
    """(position, index of the rule) by item, for the items of `order` that a rule pins."""
    places: dict[int, tuple[int, int]] = {}
    for rule_at, (rule, masks) in enumerate(chosen):
        if rule.pin is not None:
            for at in order[masks[rule.pin][order]]:
                places.setdefault(int(at), (rule.pin.position, rule_at))
    return places


def _with_pins(order: Ints, places: Mapping[int, tuple[int, int]], *, n_required: int, limit: int) -> list[int]:
    """The first items with the pinned ones at their places, none before a required item.

    Of several for one place the first rule's comes first, then the better one; those without a place follow at once.
    """
    if not places:
        return [int(at) for at in order[:limit]]
    rest = deque([int(at) for at in order if int(at) not in places][:limit])
    waiting = sorted(places, key=lambda at: places[at])  # of equals the better one is before the other in `places`
    due = [max(places[at][0] - 1, n_required) for at in waiting]
    shown: list[int] = []
    while len(shown) < limit and (waiting or rest):
        if waiting and (len(shown) in due or due[0] < len(shown) or not rest):
            n = due.index(len(shown)) if len(shown) in due else 0
            due.pop(n)
            shown.append(waiting.pop(n))
        else:
            shown.append(rest.popleft())
    return shown

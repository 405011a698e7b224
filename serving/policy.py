"""From facts to an answer: segment, preferences, flow, ranked content. Pure: the same facts give the same answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from firstmile.vocabulary import FORMATS, MODELS, SKILL_LEVELS
from firstmile.vocabulary import PROFILE as WORDS
from serving.catalogue import GENERAL, Catalogue, Shelf
from serving.facts import Facts
from serving.ranking import Item, Taste, rank
from serving.rules import DEFAULT_FLOW, Rule, RuleSet
from serving.selector import Selector, selection

OPENS: Final = frozenset(f"opens_{f}" for f in FORMATS)
PRIOR_OPENS: Final = 5.0
"""Weight of the prior against a user's own opens: five opens of one format count as much as knowing nothing."""


@dataclass(frozen=True)
class Segment:
    """Who the user is for the rules; `confidence` is the model's probability of this skill level, 0 without one."""

    skill_level: str
    stage: str
    confidence: float

    def as_fields(self) -> dict[str, Any]:
        """As the conditions and the answer name it."""
        return {"skill_level": self.skill_level, "stage": self.stage, "confidence": self.confidence}


@dataclass(frozen=True)
class Answer:
    """What to show, and why.

    learned
        The models the product has: what another would say is not told as if it were known.
    """

    segment: Segment
    preferences: tuple[tuple[str, float], ...]
    flow: str
    items: tuple[Item, ...]
    learned: frozenset[str] = frozenset(MODELS)

    def told(self) -> dict[str, Any]:
        """Segment and preferences as the answer says them: null where the product has no model of it."""
        segment = self.segment.as_fields()
        if "skill_level" not in self.learned:
            segment |= {"skill_level": None, "confidence": None}
        preferences = [{"format": f, "probability": p} for f, p in self.preferences]
        return {"segment": segment, "preferences": preferences if "preference" in self.learned else None}


class Policy:
    """Rules and catalogue, with every rule's selection of every shelf worked out once.

    versions
        Hash of the rules and of the content, for the decision log.
    learned
        The models this product has: nothing is missing in an answer without the others.
    used
        Names that conditions look at, by group.
    used_features
        What an answer may depend on other than through models.
    """

    def __init__(
        self,
        rules: RuleSet,
        catalogue: Catalogue,
        versions: Mapping[str, str] | None = None,
        *,
        learned: Sequence[str] = MODELS,
    ) -> None:
        self.rules = rules
        self.catalogue = catalogue
        self.learned = frozenset(learned)
        self.versions = dict(versions or {})
        fields = rules.fields()
        self.used = {group: frozenset(n for g, n in fields if g == group) for group, _ in fields}
        self.used_features = self.used.get("features", frozenset()) | OPENS
        self._selected = {
            (cohort, selector): selection(shelf, selector)
            for cohort, shelf in catalogue.shelves.items()
            for rule in rules.rules
            for selector in _selectors(rule)
        }

    def answer(self, facts: Facts, *, limit: int) -> Answer:
        """The answer to these facts with at most `limit` items."""
        shelf = self.shelf(facts)
        segment = self._segment(facts)
        view = facts.view(segment.as_fields())
        fired = [rule for rule in self.rules.rules if rule.when.holds(view)]
        flow = next((rule.flow for rule in fired if rule.flow), self.rules.otherwise_flow)
        preferences = preferred_formats(facts, shelf)
        taste = Taste(dict(preferences), segment.skill_level, flow)
        chosen = [(rule, {s: self._selected[shelf.cohort, s] for s in _selectors(rule)}) for rule in fired]
        items = rank(shelf, taste, chosen, seen=facts.seen, limit=limit, order=facts.order, drawn=facts.drawn)
        return Answer(segment, preferences, flow, items, self.learned)

    def not_asked(self, facts: Facts) -> frozenset[str]:
        """The models that are not to be asked about this user: they were not taught about such people."""
        if not self.rules.not_asked:
            return frozenset()
        view = facts.view({"stage": self.rules.stage.choose(facts.view({}))})
        return frozenset(model for model, when in self.rules.not_asked.items() if when.holds(view))

    def shelf(self, facts: Facts) -> Shelf:
        """What can be shown to this user."""
        return self.catalogue.shelf(facts.profile.get(WORDS.shelf))

    def default(self, *, limit: int) -> Answer:
        """The answer that needs nothing: the general catalogue in its own order."""
        shelf = self.catalogue.shelves[GENERAL]
        items = tuple(Item(i, 0.0, "default") for i in shelf.items if not i.prerequisites)[:limit]
        segment = Segment(self.rules.skill_level.otherwise, self.rules.stage.otherwise, 0.0)
        return Answer(segment, preferred_formats(Facts(), shelf), DEFAULT_FLOW, items, self.learned)

    def _segment(self, facts: Facts) -> Segment:
        view = facts.view({})
        chances = {level: facts.scores.get(f"skill_level:{level}", 0.0) for level in SKILL_LEVELS}
        likeliest = max(SKILL_LEVELS, key=lambda level: chances[level])
        if chances[likeliest] >= self.rules.min_confidence and chances[likeliest] > 0:
            level = likeliest
        else:
            level = self.rules.skill_level.choose(view)
        return Segment(level, self.rules.stage.choose(view), round(chances[level], 4))


def preferred_formats(facts: Facts, shelf: Shelf) -> tuple[tuple[str, float], ...]:
    """Probability by content format, greatest first, over the formats the shelf has.

    By the model of preference where it answered; formats it was not taught keep their share of the
    user's own opens. Without it by the opens alone.
    """
    shares = _shares_of_opens(facts.features, shelf.formats)
    said = {f: p for f in shares if (p := facts.scores.get(f"preference:{f}")) is not None}
    if (whole := sum(said.values())) > 0:
        left = 1.0 - sum(share for f, share in shares.items() if f not in said)
        shares |= {f: p / whole * left for f, p in said.items()}
    found = [(f, round(share, 4)) for f, share in shares.items()]
    return tuple(sorted(found, key=lambda pair: (-pair[1], pair[0])))


def _shares_of_opens(features: Mapping[str, float | None], formats: Sequence[str]) -> dict[str, float]:
    """The share of the user's own opens, drawn towards equal shares as if PRIOR_OPENS more opens had been spread evenly
    (a Dirichlet prior)."""
    opens = [max(features.get(f"opens_{f}") or 0.0, 0.0) for f in formats]
    prior, whole = PRIOR_OPENS / len(formats), sum(opens) + PRIOR_OPENS
    return {f: (n + prior) / whole for f, n in zip(formats, opens, strict=True)}


def _selectors(rule: Rule) -> list[Selector]:
    return [s for s in (rule.prioritise, rule.require, rule.exclude, rule.pin) if s is not None]

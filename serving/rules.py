"""rules.yaml as checked, compiled rules: who is in which segment, what is shown first, which flow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from firstmile.documents import Document, Place, read_document
from firstmile.errors import unknown_name
from firstmile.names import ONLINE_MODEL, STAGES
from firstmile.vocabulary import CLASSES, FLOWS, FORMATS, MODELS, SKILL_LEVELS
from serving.catalogue import Catalogue
from serving.conditions import Compiler, Condition, Fields, View
from serving.selector import WAYS, Pin, Selector, selection

DEFAULT_FLOW: Final = "default"
"""The flow of the default rung: nothing was evaluated."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Choice(_Section):
    value: str
    when: dict[str, Any]


class _Choices(_Section):
    choices: tuple[_Choice, ...] = ()
    otherwise: str


class _Rule(_Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    when: dict[str, Any] = {}
    prioritise: Selector | None = None
    require: Selector | None = None
    exclude: Selector | None = None
    pin: Pin | None = None
    flow: str | None = None


class _File(_Section):
    intents: dict[str, tuple[str, ...]] = {}
    min_confidence: float = Field(0.5, ge=0, le=1)
    skill_level: _Choices
    stage: _Choices
    not_asked: dict[str, dict[str, Any]] = {}
    rules: tuple[_Rule, ...] = ()
    otherwise_flow: str


@dataclass(frozen=True)
class Choices:
    """Values with their conditions; the first that holds, else `otherwise`."""

    choices: tuple[tuple[str, Condition], ...]
    otherwise: str

    def choose(self, view: View) -> str:
        """The value for this view."""
        return next((value for value, when in self.choices if when.holds(view)), self.otherwise)


@dataclass(frozen=True)
class Rule:
    """One rule: when it holds, what it does. Selectors' intents are already formats."""

    name: str
    when: Condition
    prioritise: Selector | None
    require: Selector | None
    exclude: Selector | None
    pin: Pin | None
    flow: str | None


@dataclass(frozen=True)
class RuleSet:
    """Everything rules.yaml says.

    not_asked
        By model: whom it is not asked about.
    """

    min_confidence: float
    skill_level: Choices
    stage: Choices
    rules: tuple[Rule, ...]
    otherwise_flow: str
    not_asked: Mapping[str, Condition] = field(default_factory=dict)

    def fields(self) -> frozenset[tuple[str, str]]:
        """(group, name) of every field a condition looks at."""
        conditions = [rule.when for rule in self.rules] + list(self.not_asked.values())
        conditions += [when for choices in (self.skill_level, self.stage) for _, when in choices.choices]
        return frozenset().union(*(c.fields() for c in conditions))


def known_fields(features: Iterable[str], profile: Iterable[str], context: Iterable[str]) -> Fields:
    """What conditions may use, given the names of features, profile and context fields.

    `models` holds `activation`, `disengagement` and, by class, `skill_level:beginner`, `preference:quiz` and so on; and
    `content_open`, known only in an experiment's arm of the online learner.
    """
    scores = [f"{m}:{c}" for m, classes in CLASSES.items() for c in classes]
    scores += [m for m in (*MODELS, ONLINE_MODEL) if m not in CLASSES]
    return {
        "features": frozenset(features),
        "profile": frozenset(profile),
        "context": frozenset(context),
        "models": frozenset(scores),
        "segment": frozenset({"skill_level", "stage", "confidence"}),
        "request": frozenset({"page", "locale"}),
    }


def load_rules(fields: Fields, catalogue: Catalogue, path: Path) -> RuleSet:
    """The rules of a file, over a catalogue.

    Raises DataError naming file and line for anything that is not understood, an unknown name, an audit attribute or a
    selector that no content of the catalogue meets.
    """
    document = read_document(path)
    file = document.parse(_File)
    return _Reading(document, file, fields, catalogue).rule_set()


@dataclass(frozen=True)
class _Reading:
    """One file being turned into rules."""

    document: Document
    file: _File
    fields: Fields
    catalogue: Catalogue

    def rule_set(self) -> RuleSet:
        file = self.file
        for intent, formats in file.intents.items():
            if not formats:
                message = f"intent {intent!r} names no format, so it would select everything; known: "
                self.document.refuse(("intents", intent), message + ", ".join(FORMATS))
            for i, name in enumerate(formats):
                self._known(("intents", intent, i), "format", name=name, allowed=FORMATS)
        self._known(("otherwise_flow",), "flow", name=file.otherwise_flow, allowed=FLOWS)
        names = [rule.name for rule in file.rules]
        for at, name in enumerate(names):
            if name in names[:at]:
                self.document.refuse(("rules", at, "name"), f"rule {name!r} is given twice")
        return RuleSet(
            file.min_confidence,
            self._choices("skill_level", file.skill_level, allowed=SKILL_LEVELS),
            self._choices("stage", file.stage, allowed=STAGES),
            tuple(self._rule(("rules", at), rule) for at, rule in enumerate(file.rules)),
            file.otherwise_flow,
            {model: self._not_asked(model, raw) for model, raw in file.not_asked.items()},
        )

    def _not_asked(self, model: str, raw: dict[str, Any]) -> Condition:
        self._known(("not_asked", model), "model", name=model, allowed=MODELS)
        # It is decided before models are asked, so it can know neither what they say nor what follows from it.
        fields = {group: names for group, names in self.fields.items() if group != "models"}
        compiler = Compiler(self.document, {**fields, "segment": frozenset({"stage"})})
        if not raw:
            self.document.refuse(("not_asked", model), "holds of everybody; give a condition, or leave the line out")
        return compiler.condition(("not_asked", model), raw)

    def _choices(self, key: str, raw: _Choices, *, allowed: tuple[str, ...]) -> Choices:
        self._known((key, "otherwise"), key, name=raw.otherwise, allowed=allowed)
        # What makes a segment cannot look at the segment.
        compiler = Compiler(self.document, {g: names for g, names in self.fields.items() if g != "segment"})
        found = []
        for at, choice in enumerate(raw.choices):
            place: Place = (key, "choices", at)
            self._known((*place, "value"), key, name=choice.value, allowed=allowed)
            found.append((choice.value, compiler.condition((*place, "when"), choice.when)))
        return Choices(tuple(found), raw.otherwise)

    def _rule(self, place: Place, raw: _Rule) -> Rule:
        chosen: dict[str, Any] = {}
        for action in ("prioritise", "require", "exclude", "pin"):
            selector = getattr(raw, action)
            chosen[action] = None if selector is None else self._selector((*place, action), selector)
        if raw.flow is not None:
            self._known((*place, "flow"), "flow", name=raw.flow, allowed=FLOWS)
        elif not any(chosen.values()):
            message = f"rule {raw.name!r} does nothing; give it prioritise, require, exclude, pin or flow"
            self.document.refuse(place, message)
        when = Compiler(self.document, self.fields).condition((*place, "when"), raw.when)
        return Rule(raw.name, when, flow=raw.flow, **chosen)

    def _selector(self, place: Place, raw: Selector) -> Selector:
        if not (raw.formats or raw.intents or raw.levels or raw.steps or raw.content_ids):
            self.document.refuse(place, "selects everything; name formats, intents, levels, steps or content_ids")
        for kind, allowed in (("formats", FORMATS), ("levels", SKILL_LEVELS), ("intents", tuple(self.file.intents))):
            for i, name in enumerate(getattr(raw, kind)):
                self._known((*place, kind, i), kind.removesuffix("s"), name=name, allowed=allowed)
        guards = place[-1] == "exclude"  # against content that may come: what meets none today does no harm
        for way, found in (("steps", self.catalogue.steps()), ("content_ids", self.catalogue.content_ids())):
            if guards and way == "steps":
                continue
            for i, name in enumerate(getattr(raw, way)):
                if name not in found:
                    message = f"{WAYS[way]} {name!r} is not in the catalogue (content.yaml)"
                    self.document.refuse((*place, way, i), message)
        formats = dict.fromkeys([*raw.formats, *(f for intent in raw.intents for f in self.file.intents[intent])])
        selector = raw.model_copy(update={"formats": tuple(formats), "intents": ()})
        # Of formats and levels alone a catalogue may have none yet.
        names_some = (raw.steps or raw.content_ids) and not guards
        if names_some and not any(selection(shelf, selector).any() for shelf in self.catalogue.shelves.values()):
            asked = "; ".join(f"{way}: {', '.join(values)}" for way in WAYS if (values := getattr(selector, way)))
            self.document.refuse(place, f"no content of the catalogue (content.yaml) has all of {asked}")
        return selector

    def _known(self, place: Place, kind: str, *, name: str, allowed: tuple[str, ...]) -> None:
        if name not in allowed:
            self.document.refuse(place, unknown_name(kind, name, allowed))

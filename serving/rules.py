"""rules.yaml as checked, compiled rules: who is in which segment, what is shown first, which flow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from firstmile.errors import unknown_name
from firstmile.names import FORMATS, MODELS, SKILL_LEVELS, STAGES
from serving.conditions import Condition, Fields, View, compile_condition
from serving.documents import Document, Place, read_document

RULES: Final = Path(__file__).with_name("rules.yaml")
FLOWS: Final = ("guided", "balanced", "tailored", "re-engage")
DEFAULT_FLOW: Final = "default"
"""The flow of the default rung: nothing was evaluated."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Selector(_Section):
    """Which content: of any of these formats (or of these intents' formats), and any of these levels, steps, ids."""

    formats: tuple[str, ...] = ()
    intents: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    content_ids: tuple[str, ...] = ()


class Pin(Selector):
    """Content that stands at this place of the list, 1 = first."""

    position: int = Field(1, ge=1, le=20)


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
    """Everything rules.yaml says."""

    min_confidence: float
    skill_level: Choices
    stage: Choices
    rules: tuple[Rule, ...]
    otherwise_flow: str

    def fields(self) -> frozenset[tuple[str, str]]:
        """(group, name) of every field a condition looks at."""
        conditions = [rule.when for rule in self.rules]
        conditions += [when for choices in (self.skill_level, self.stage) for _, when in choices.choices]
        return frozenset().union(*(c.fields() for c in conditions))


def known_fields(features: Iterable[str], profile: Iterable[str], context: Iterable[str]) -> Fields:
    """What conditions may use, given the names of features, profile and context fields.

    `models` holds `activation`, `disengagement` and, by class, `skill_level:beginner` and so on.
    """
    scores = [m for m in MODELS if m != "skill_level"] + [f"skill_level:{level}" for level in SKILL_LEVELS]
    return {
        "features": frozenset(features),
        "profile": frozenset(profile),
        "context": frozenset(context),
        "models": frozenset(scores),
        "segment": frozenset({"skill_level", "stage", "confidence"}),
        "request": frozenset({"page", "locale"}),
    }


def load_rules(fields: Fields, content_ids: frozenset[str], path: Path = RULES) -> RuleSet:
    """The rules of a file.

    Raises DataError naming file and line for anything that is not understood, an unknown name or an audit attribute.
    """
    document = read_document(path)
    file = document.parse(_File)
    _check_intents(document, file.intents)
    _known(document, ("otherwise_flow",), "flow", file.otherwise_flow, FLOWS)
    names = [rule.name for rule in file.rules]
    for at, rule in enumerate(file.rules):
        if rule.name in names[:at]:
            document.refuse(("rules", at, "name"), f"rule {rule.name!r} is given twice")
    unsegmented = {group: known for group, known in fields.items() if group != "segment"}
    return RuleSet(
        file.min_confidence,
        _choices(document, "skill_level", file.skill_level, SKILL_LEVELS, unsegmented),
        _choices(document, "stage", file.stage, STAGES, unsegmented),
        tuple(_rule(document, at, rule, file.intents, fields, content_ids) for at, rule in enumerate(file.rules)),
        file.otherwise_flow,
    )


def _choices(document: Document, key: str, raw: _Choices, allowed: tuple[str, ...], fields: Fields) -> Choices:
    _known(document, (key, "otherwise"), key, raw.otherwise, allowed)
    found = []
    for at, choice in enumerate(raw.choices):
        place: Place = (key, "choices", at)
        _known(document, (*place, "value"), key, choice.value, allowed)
        found.append((choice.value, compile_condition(document, (*place, "when"), choice.when, fields)))
    return Choices(tuple(found), raw.otherwise)


def _rule(
    document: Document,
    at: int,
    raw: _Rule,
    intents: Mapping[str, tuple[str, ...]],
    fields: Fields,
    content_ids: frozenset[str],
) -> Rule:
    place: Place = ("rules", at)
    chosen: dict[str, Any] = {}
    for action in ("prioritise", "require", "exclude", "pin"):
        selector = getattr(raw, action)
        if selector is not None:
            chosen[action] = _selector(document, (*place, action), selector, intents, content_ids)
        else:
            chosen[action] = None
    if raw.flow is not None:
        _known(document, (*place, "flow"), "flow", raw.flow, FLOWS)
    elif not any(chosen.values()):
        document.refuse(place, f"rule {raw.name!r} does nothing; give it prioritise, require, exclude, pin or flow")
    return Rule(raw.name, compile_condition(document, (*place, "when"), raw.when, fields), flow=raw.flow, **chosen)


def _selector(
    document: Document,
    place: Place,
    raw: Selector,
    intents: Mapping[str, tuple[str, ...]],
    content_ids: frozenset[str],
) -> Selector:
    if not (raw.formats or raw.intents or raw.levels or raw.steps or raw.content_ids):
        document.refuse(place, "selects everything; name formats, intents, levels, steps or content_ids")
    for kind, allowed in (("formats", FORMATS), ("levels", SKILL_LEVELS), ("intents", tuple(intents))):
        for i, name in enumerate(getattr(raw, kind)):
            _known(document, (*place, kind, i), kind.removesuffix("s"), name, allowed)
    for i, content_id in enumerate(raw.content_ids):
        if content_id not in content_ids:
            document.refuse((*place, "content_ids", i), f"content_id {content_id!r} is not in the catalogue")
    formats = dict.fromkeys([*raw.formats, *(f for intent in raw.intents for f in intents[intent])])
    return raw.model_copy(update={"formats": tuple(formats), "intents": ()})


def _check_intents(document: Document, intents: Mapping[str, tuple[str, ...]]) -> None:
    for intent, formats in intents.items():
        for i, name in enumerate(formats):
            _known(document, ("intents", intent, i), "format", name, FORMATS)


def _known(document: Document, place: Place, kind: str, name: str, allowed: tuple[str, ...]) -> None:
    if name not in allowed:
        document.refuse(place, unknown_name(kind, name, allowed))

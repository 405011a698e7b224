"""Conditions of the rules: a mapping of fields to what they must be, all of them to hold.

    segment.skill_level: beginner                 equals
    request.page: [/welcome, /home]               one of
    features.days_since_last_event: {gte: 7}      lt, lte, gt, gte; several may stand together
    profile.plan: {not: trial}                    known, and neither this nor one of a list
    features.prior_attempts: {known: false}       not known at all
    any: [{…}, {…}]                               at least one of these mappings holds

A field that is not known fails every test but `known: false`. No expressions: nothing here can run code.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from firstmile.errors import unknown_name
from firstmile.names import AUDIT_ATTRIBUTES, SKILL_LEVELS, STAGES
from serving.documents import Document, Place

View = Mapping[str, Mapping[str, Any]]
"""What conditions look at: values by name, by group."""
Fields = Mapping[str, frozenset[str]]
"""The names a condition may use, by group."""

ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
NUMERIC_GROUPS: Final = frozenset({"features", "models"})
CLOSED: Final = {"skill_level": SKILL_LEVELS, "stage": STAGES}
"""Fields of `segment` that hold one of a closed list."""


@dataclass(frozen=True)
class Check:
    """One field against one operand."""

    group: str
    name: str
    op: str
    operand: Any

    def holds(self, view: View) -> bool:
        """Whether it is so in this view."""
        value = view.get(self.group, {}).get(self.name)
        if self.op == "known":
            return (value is not None) is self.operand
        if value is None:
            return False
        if self.op == "in":
            return value in self.operand
        if self.op == "not":
            return value not in self.operand
        return ORDERS[self.op](value, self.operand)


@dataclass(frozen=True)
class Condition:
    """All checks hold, and of every `any` list at least one condition."""

    checks: tuple[Check, ...] = ()
    alternatives: tuple["Condition", ...] = ()

    def holds(self, view: View) -> bool:
        """Whether it is so in this view; an empty condition always holds."""
        if not all(check.holds(view) for check in self.checks):
            return False
        return not self.alternatives or any(c.holds(view) for c in self.alternatives)

    def fields(self) -> frozenset[tuple[str, str]]:
        """(group, name) of every field looked at."""
        own = frozenset((c.group, c.name) for c in self.checks)
        return own.union(*(c.fields() for c in self.alternatives))


def compile_condition(document: Document, place: Place, raw: Any, fields: Fields) -> Condition:
    """A condition from its mapping.

    Raises DataError, with the line, for an unknown field or operator, an audit attribute, or an operand of the
    wrong kind.
    """
    if not isinstance(raw, dict):
        document.refuse(place, f"a condition is a mapping of fields to values, not {raw!r}")
    checks: list[Check] = []
    alternatives: list[Condition] = []
    for key, wanted in raw.items():
        at = (*place, key)
        if key == "any":
            if not isinstance(wanted, list) or not wanted:
                document.refuse(at, "any: needs a list of conditions")
            alternatives = [compile_condition(document, (*at, i), c, fields) for i, c in enumerate(wanted)]
        else:
            group, name = _field(document, at, key, fields)
            checks += _checks(document, at, (group, name), wanted)
    return Condition(tuple(checks), tuple(alternatives))


def _field(document: Document, place: Place, key: Any, fields: Fields) -> tuple[str, str]:
    group, _, name = str(key).partition(".")
    if name in AUDIT_ATTRIBUTES or group in ("audit", "user_audit"):
        document.refuse(place, f"{key} is an audit attribute: who a person is may not steer what they are shown")
    if group not in fields:
        document.refuse(place, unknown_name("group of fields", str(key), (f"{g}.…" for g in fields)))
    if name not in fields[group]:
        document.refuse(place, unknown_name(f"field of {group}", name, fields[group]))
    return group, name


def _checks(document: Document, place: Place, field: tuple[str, str], wanted: Any) -> list[Check]:
    group, name = field
    if not isinstance(wanted, dict):
        options = wanted if isinstance(wanted, list) else [wanted]
        return [Check(group, name, "in", _options(document, place, field, options))]
    if not wanted:
        document.refuse(place, "says nothing; give a value, a list, or one of lt, lte, gt, gte, not, known")
    found = []
    for op, operand in wanted.items():
        at = (*place, op)
        if op == "not":
            options = operand if isinstance(operand, list) else [operand]
            found.append(Check(group, name, "not", _options(document, at, field, options)))
        elif op == "known":
            if not isinstance(operand, bool):
                document.refuse(at, f"known is true or false, not {operand!r}")
            found.append(Check(group, name, "known", operand))
        elif op in ORDERS:
            if not _is_number(operand) or not _is_numeric(field):
                document.refuse(at, f"{op} compares a number field with a number, not {group}.{name} with {operand!r}")
            found.append(Check(group, name, op, operand))
        else:
            document.refuse(at, unknown_name("operator", str(op), (*ORDERS, "not", "known")))
    return found


def _options(document: Document, place: Place, field: tuple[str, str], options: list[Any]) -> frozenset[Any]:
    group, name = field
    for option in options:
        if not (_is_number(option) if _is_numeric(field) else isinstance(option, str)):
            kind = "numbers" if _is_numeric(field) else "texts"
            document.refuse(place, f"{group}.{name} is one of the fields that hold {kind}, {option!r} is not one")
        if group == "segment" and name in CLOSED and option not in CLOSED[name]:
            document.refuse(place, unknown_name(name, option, CLOSED[name]))
    return frozenset(options)


def _is_numeric(field: tuple[str, str]) -> bool:
    return field[0] in NUMERIC_GROUPS or field == ("segment", "confidence")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

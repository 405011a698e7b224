"""Conditions of the rules: a mapping of fields to what they must be, all of them to hold.

    segment.skill_level: beginner                 equals
    request.page: [/welcome, /home]               one of
    features.days_since_last_event: {gte: 7}      lt, lte, gt, gte; several may stand together
    profile.plan: {not: trial}                    known, and neither this nor one of a list
    features.prior_attempts: {known: false}       not known at all
    any: [{…}, {…}]                               at least one of these mappings holds

A field that is not known fails every test but `known: false`. No expressions: nothing here can run code.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from firstmile.documents import Document, Place
from firstmile.errors import unknown_name
from firstmile.names import STAGES
from firstmile.vocabulary import AUDIT_ATTRIBUTES, SKILL_LEVELS

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

    def excludes(self, other: "Check") -> bool:
        """Whether the two surely never hold of the same view; False also where that is not plain to see.

        >>> page = Check("request", "page", "in", frozenset({"/a"}))
        >>> page.excludes(Check("request", "page", "not", frozenset({"/a", "/b"})))
        True
        """
        if (self.group, self.name) != (other.group, other.name):
            return False
        ops = {self.op: self.operand, other.op: other.operand}
        if "known" in ops:  # every other test needs the field to be known
            return self.operand != other.operand if len(ops) == 1 else not ops["known"]
        if self.op == other.op == "in":
            return not self.operand & other.operand
        return set(ops) == {"in", "not"} and ops["in"] <= ops["not"]


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

    def excludes(self, other: "Condition") -> bool:
        """Whether the two surely never hold of the same view; alternatives are not gone into."""
        return any(one.excludes(two) for one in self.checks for two in other.checks)

    def fields(self) -> frozenset[tuple[str, str]]:
        """(group, name) of every field looked at."""
        own = frozenset((c.group, c.name) for c in self.checks)
        return own.union(*(c.fields() for c in self.alternatives))


@dataclass(frozen=True)
class Compiler:
    """Conditions of one document, over the fields there are.

    Its methods raise DataError, with the line, for an unknown field or operator, an audit attribute, or an operand of
    the wrong kind.
    """

    document: Document
    fields: Fields

    def condition(self, place: Place, raw: Any) -> Condition:
        """A condition from its mapping."""
        if not isinstance(raw, dict):
            self.document.refuse(place, f"a condition is a mapping of fields to values, not {raw!r}")
        checks: list[Check] = []
        alternatives: list[Condition] = []
        for key, wanted in raw.items():
            at = (*place, key)
            if key == "any":
                if not isinstance(wanted, list) or not wanted:
                    self.document.refuse(at, "any: needs a list of conditions")
                alternatives = [self.condition((*at, i), one) for i, one in enumerate(wanted)]
            else:
                checks += self._checks(at, self._field(at, key), wanted=wanted)
        return Condition(tuple(checks), tuple(alternatives))

    def _field(self, place: Place, key: Any) -> tuple[str, str]:
        group, _, name = str(key).partition(".")
        if name in AUDIT_ATTRIBUTES or group in ("audit", "user_audit"):
            self.document.refuse(place, f"{key} is an audit attribute: who a person is may not steer what they see")
        if group not in self.fields:
            self.document.refuse(place, unknown_name("group of fields", str(key), (f"{g}.…" for g in self.fields)))
        if name not in self.fields[group]:
            self.document.refuse(place, unknown_name(f"field of {group}", name, self.fields[group]))
        return group, name

    def _checks(self, place: Place, field: tuple[str, str], *, wanted: Any) -> list[Check]:
        if not isinstance(wanted, dict):
            return [Check(*field, "in", self._options(place, field, wanted=wanted))]
        if not wanted:
            self.document.refuse(place, "says nothing; give a value, a list, or one of lt, lte, gt, gte, not, known")
        found = []
        for op, operand in wanted.items():
            at = (*place, op)
            if op == "not":
                operand = self._options(at, field, wanted=operand)
            elif op == "known":
                if not isinstance(operand, bool):
                    self.document.refuse(at, f"known is true or false, not {operand!r}")
            elif op not in ORDERS:
                self.document.refuse(at, unknown_name("operator", str(op), (*ORDERS, "not", "known")))
            elif not _is_number(operand) or not _is_numeric(field):
                said = f"not {'.'.join(field)} with {operand!r}"
                self.document.refuse(at, f"{op} compares a number field with a number, {said}")
            found.append(Check(*field, str(op), operand))
        return found

    def _options(self, place: Place, field: tuple[str, str], *, wanted: Any) -> frozenset[Any]:
        group, name = field
        options = wanted if isinstance(wanted, list) else [wanted]
        if not options:
            self.document.refuse(place, "an empty list says nothing; name at least one value")
        for option in options:
            if not (_is_number(option) if _is_numeric(field) else isinstance(option, str)):
                kind = "numbers" if _is_numeric(field) else "texts"
                self.document.refuse(place, f"{group}.{name} is one of the fields that hold {kind}, not {option!r}")
            if group == "segment" and name in CLOSED and option not in CLOSED[name]:
                self.document.refuse(place, unknown_name(name, option, CLOSED[name]))
        return frozenset(options)


def _is_numeric(field: tuple[str, str]) -> bool:
    return field[0] in NUMERIC_GROUPS or field == ("segment", "confidence")


def _is_number(value: Any) -> bool:
    """Whether comparing with it says something: nothing is less or more than NaN, all is less than infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf

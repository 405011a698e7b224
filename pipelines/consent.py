"""Consent: what a tracking call says of it, and whether events may be used.

The collector writes what was said into the event (`consent`: true, false, null = nothing said); the stream decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.consent_forms import UnreadableError, answers
from pipelines.notes import Note


@dataclass(frozen=True)
class ConsentRule:
    """Which categories of consent count, compared without case, and whether silence is a no."""

    categories: tuple[str, ...] = ("Analytics",)
    is_required: bool = False

    def refuses(self, said: bool | None) -> bool:
        """Whether an event with this consent is left out.

        >>> [ConsentRule().refuses(said) for said in (True, None, False)]
        [False, False, True]
        >>> [ConsentRule(is_required=True).refuses(said) for said in (True, None, False)]
        [False, True, True]
        """
        return said is not True if self.is_required else said is False

    def said(self, context: Mapping[str, Any], notes: list[Note]) -> bool | None:
        """The consent in the `context` of a call; of several answers any no is a no, and so is what cannot be read.

        >>> ConsentRule().said({"consent": {"categoryPreferences": {"Analytics": False, "Advertising": True}}}, [])
        False
        """
        try:
            found = set(answers(context, frozenset(name.strip().casefold() for name in self.categories)))
        except UnreadableError:
            example = f"{{'categoryPreferences': {{'{self.categories[0]}': true}}}}"
            message = "the consent in the context says neither yes nor no, so it is taken for a no"
            notes.append(Note("bad_consent", message, f"send context.consent as true, false or {example}"))
            return False
        return None if not found else False not in found

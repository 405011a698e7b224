"""Consent: what a tracking call says of it, and whether events may be used.

The collector writes what was said into the event (`consent`: true, false, null = nothing said); the stream decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipelines.call_fields import CallError

PREFERENCES: Final = "categoryPreferences"


@dataclass(frozen=True)
class ConsentRule:
    """Which category of consent counts, and whether silence is a no."""

    category: str = "Analytics"
    is_required: bool = False

    def refuses(self, said: bool | None) -> bool:
        """Whether an event with this consent is left out.

        >>> [ConsentRule().refuses(said) for said in (True, None, False)]
        [False, False, True]
        >>> [ConsentRule(is_required=True).refuses(said) for said in (True, None, False)]
        [False, True, True]
        """
        return said is not True if self.is_required else said is False

    def said(self, context: Mapping[str, Any]) -> bool | None:
        """The consent in the `context` of a call: a boolean, or Segment's preferences by category.

        Raises CallError for any other form: it might be a no.

        >>> ConsentRule().said({"consent": {"categoryPreferences": {"Analytics": False, "Advertising": True}}})
        False
        """
        consent = context.get("consent")
        if consent is None or isinstance(consent, bool):
            return consent
        preferences = consent.get(PREFERENCES) if isinstance(consent, Mapping) else consent
        if preferences is None and not consent:
            return None
        found = preferences.get(self.category) if isinstance(preferences, Mapping) else preferences
        if isinstance(preferences, Mapping) and (found is None or isinstance(found, bool)):
            return found
        raise CallError(
            "bad_consent",
            f"context.consent {consent!r:.80} says neither yes nor no",
            f"send true, false or {{'{PREFERENCES}': {{'{self.category}': true}}}}",
        )

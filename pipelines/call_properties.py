"""The properties of a tracking call as texts; those that features read are checked, wrong ones left out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from firstmile.ids import HINT, IdError, id_text
from pipelines.bounds import EARLIEST_US, MAX_ONBOARDING_AHEAD_US, ONBOARDING_AT
from pipelines.call_fields import CallError, as_texts, object_of
from pipelines.client_times import instant_us
from pipelines.notes import Note

_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)


def properties_of(
    call: Mapping[str, Any], *, content_fields: Sequence[str], now_us: int, notes: list[Note]
) -> dict[str, str]:
    """Properties by name; what was left out is noted.

    content_fields
        Properties that hold the id of a content.
    """
    said = dict(object_of(call, "properties"))
    if said.get(ONBOARDING_AT) is not None:
        said[ONBOARDING_AT] = _onboarding_us(said[ONBOARDING_AT], now_us)
        if said[ONBOARDING_AT] is None:
            hint = "send whole microseconds since 1970 like 1795435200000000, or ISO 8601 text"
            message = f"{ONBOARDING_AT} was left out: it is no time in microseconds, from 2005 to a year from now"
            notes.append(Note("bad_onboarding_at", message, hint))
    for name in content_fields:
        said[name] = _content_id(name, said.get(name), notes)
    return as_texts(said, notes)


def page_of(call: Mapping[str, Any], context: Mapping[str, Any], properties: Mapping[str, str]) -> dict[str, str]:
    """Which page or screen was seen, as a property: as the properties say, else its path, also in the context, else its
    name.

    context
        Of the call over that of its batch.
    """
    in_context = context.get("page")
    candidates = (
        properties.get("page"),
        properties.get("path"),
        in_context.get("path") if isinstance(in_context, Mapping) else None,
        call.get("name"),
        call.get("event") if call.get("type") == "screen" else None,
        properties.get("name"),
    )
    found = next((c for c in candidates if isinstance(c, str) and c), None)
    return {} if found is None else {"page": found}


def _content_id(name: str, said: Any, notes: list[Note]) -> str | None:
    try:
        return id_text(said)
    except IdError as error:
        notes.append(Note("bad_content_id", f"{name} was left out: {error}", HINT))
        return None


def _onboarding_us(said: Any, now_us: int) -> int | None:
    """When the onboarding began; None when the value is in other units, out of bounds or no time."""
    if isinstance(said, str) and not _DIGITS.fullmatch(said.strip()):
        try:
            said = instant_us(said, ONBOARDING_AT)
        except CallError:
            return None
    elif isinstance(said, str):
        said = int(said.strip()[:20])
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return int(said) if said == said // 1 and EARLIEST_US <= said <= now_us + MAX_ONBOARDING_AHEAD_US else None

"""The traits of an identify call as a record of crm.profiles."""

from collections.abc import Mapping
from typing import Any

from firstmile.names import PROFILES
from firstmile.wire import Record
from pipelines.call_fields import as_texts, object_of, plain
from pipelines.crm_export import audit_name
from pipelines.derived_ids import derived_id
from pipelines.notes import Note, listed
from pipelines.page_access import PageWriter

REMOVED = ""
"""A trait with this text is taken out of the profile; one that is not named stays."""


def profile_of(
    event: Record, call: Mapping[str, Any], writer: PageWriter | None, notes: list[Note]
) -> list[tuple[str, Record]]:
    """The record, if the call has traits that a profile may hold.

    event
        The record of the call itself: whose profile it is, and when it was said.
    writer
        Of a call from a page; None: a server's, which sets any trait.
    """
    traits = _permitted(traits_of(call), notes)
    if writer is not None:
        traits = writer.settable(traits, notes)
    record = {
        "message_id": derived_id(event["message_id"], "profile"),
        "user_id": event["user_id"],
        "updated_at": event["event_time"],
        "received_at": event["received_at"],
        "traits": {**{plain(name): REMOVED for name in traits if traits[name] is None}, **as_texts(traits, notes)},
    }
    return [(PROFILES, record)] if record["traits"] else []


def traits_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """The traits of a call, over those of its own context (RudderStack). A batch's context may be of several users."""
    of_context = object_of(call, "context").get("traits")
    return {**(of_context if isinstance(of_context, Mapping) else {}), **object_of(call, "traits")}


def _permitted(traits: Mapping[str, Any], notes: list[Note]) -> Mapping[str, Any]:
    """Traits without audit attributes."""
    audited = [name for name in traits if audit_name(name)]
    if audited:
        hint = "leave them out; `firstmile profiles import` takes them, for audits alone"
        message = f"left out of the profile: {listed(audited)}; audit attributes, which no profile may hold"
        notes.append(Note("audit_attribute", message, hint))
    return {name: value for name, value in traits.items() if name not in audited}

"""What pages may write: a publishable key stands in every visitor's browser, so it speaks for nobody without proof.

cleaning.yaml says in `pages` how strict that is. A secret key, which stays on servers, writes for anybody.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from firstmile.http.guard import unproven, visitor_id
from pipelines.notes import Note, listed

USER_HASH: Final = ("user_hash", "userHash")
Prove = Callable[[str, str | None], None]
"""Holds a user against the hash given with them. Raises RefusalError when it proves nothing."""


@dataclass(frozen=True)
class PageRules:
    """What cleaning.yaml lets publishable keys write.

    traits
        Of a profile, that pages may set.
    needs_proof
        Whether a user needs their `user_hash`, and a visitor the random id of a browser.
    """

    traits: frozenset[str] = frozenset()
    needs_proof: bool = False


@dataclass(frozen=True)
class PageWriter:
    """The writer of one call that came with a publishable key."""

    rules: PageRules
    prove: Prove

    def proven(
        self, user_id: str | None, anonymous_id: str | None, user_hash: str | None, notes: list[Note]
    ) -> str | None:
        """The anonymous id to write, once the ids are proven.

        Raises RefusalError for a user who is not proven, or a visitor whose id no browser made: it may be a user's.
        """
        if not self.rules.needs_proof:
            return anonymous_id
        if user_id is not None:
            self.prove(user_id, user_hash)
        if anonymous_id is None:
            return None
        visitor = visitor_id(anonymous_id)
        if visitor is None and user_id is None:
            raise unproven(
                "with a publishable key an anonymousId is a random UUID, with `anon_` before it or without",
                hint="let the browser make it: 'anon_' + crypto.randomUUID()",
            )
        if visitor is None:
            hint = "let the browser make it: 'anon_' + crypto.randomUUID()"
            notes.append(Note("bad_anonymous_id", "anonymousId was left out: it is not a random UUID", hint))
        return visitor

    def settable(self, traits: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
        """The traits a page may set."""
        others = [name for name in traits if name not in self.rules.traits]
        if others:
            hint = "list them under `pages: traits:` in cleaning.yaml, or send them from a server with a secret key"
            message = f"left out of the profile: {listed(others)}; a publishable key may not set them"
            notes.append(Note("trait_not_settable", message, hint))
        return {name: value for name, value in traits.items() if name in self.rules.traits}


def user_hash_of(call: Mapping[str, Any], context: Mapping[str, Any]) -> str | None:
    """The proof a call gives of its user: its own, else its context's."""
    found = next((where[name] for where in (call, context) for name in USER_HASH if where.get(name)), None)
    return found if isinstance(found, str) else None

"""Internal and test users: who is left out because of their id, their e-mail's domain or a property they carry."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EMAIL_DOMAIN: Final = "email_domain"
"""Property the collector adds when a trait's e-mail lies in a domain of the rules: the domain, not the address."""


@dataclass(frozen=True)
class InternalUsers:
    """Rules for whose events are not a customer's. Each record is judged by what it says itself.

    user_ids
        Globs (`*`, `?`, `[…]`), compared exactly but for what follows an `@`: domains have no case.
    email_domains
        Lower case; subdomains count too.
    email_properties
        Properties and traits that hold an e-mail address.
    properties
        Property or trait → the text, in lower case, that makes its user internal.
    """

    user_ids: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    email_properties: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def watched(self) -> tuple[str, ...]:
        """The properties and traits that are looked at."""
        return (EMAIL_DOMAIN, *self.email_properties, *(name for name, _ in self.properties))

    def among(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Which records are an internal user's, shape (n,).

        frame
            user_id and, where there are any, properties (or traits): a dict or pairs per record.
        """
        codes, users = pd.factorize(frame["user_id"])
        by_id = np.array([self.has_id(user) for user in users], bool)[codes]
        if "properties" not in frame:
            return by_id
        out = np.asarray(by_id, bool)
        said = frame["properties"].to_numpy(object)
        for i in np.flatnonzero(frame["properties"].notna()):  # few: decoding leaves out those that say nothing of it
            out[i] |= self.says(said[i])
        return out

    def has_id(self, user_id: str) -> bool:
        """Whether a user id is one of the globs.

        >>> [InternalUsers(("*@x.org",)).has_id(user) for user in ("Ann@X.org", "ann@x.com")]
        [True, False]
        """
        return self._pattern is not None and self._pattern.match(_small_domain(user_id)) is not None

    def says(self, properties: Any) -> bool:
        """Whether properties (a dict, pairs or None) are an internal user's."""
        if properties is None:
            return False
        pairs = properties.items() if isinstance(properties, dict) else properties
        watched = self._watched
        said = {name: value for name, value in pairs if name in watched}
        if not said:
            return False
        return self.domain_of(said) is not None or any(
            said.get(name, "").strip().lower() == value for name, value in self.properties
        )

    def domain_of(self, said: Mapping[str, Any]) -> str | None:
        """The domain of an e-mail address in properties or traits when it is one of ours.

        >>> InternalUsers(email_domains=("x.org",), email_properties=("email",)).domain_of({"email": "Ann@it.X.org"})
        'it.x.org'
        """
        if not self.email_domains:
            return None
        for name in (EMAIL_DOMAIN, *self.email_properties):
            domain = str(said.get(name) or "").rpartition("@")[2].strip().lower()
            if any(domain == ours or domain.endswith(f".{ours}") for ours in self.email_domains):
                return domain
        return None

    @cached_property
    def _watched(self) -> frozenset[str]:
        return frozenset((EMAIL_DOMAIN, *self.email_properties, *(name for name, _ in self.properties)))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        globs = (fnmatch.translate(_small_domain(glob)) for glob in self.user_ids)
        return re.compile("|".join(globs)) if self.user_ids else None


def _small_domain(text: str) -> str:
    """A user id or glob with its domain, if it has one, in small letters."""
    name, at, domain = text.rpartition("@")
    return f"{name}@{domain.lower()}" if at else text

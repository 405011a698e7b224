"""cleaning.yaml: whose events are left out and what pages may write, as checked, compiled rules."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from firstmile.documents import Document, read_document
from pipelines.bots import bots
from pipelines.call_fields import as_text
from pipelines.consent import ConsentRule
from pipelines.crm_export import audit_name
from pipelines.internal_users import InternalUsers
from pipelines.page_access import PageRules

REASONS: Final = ("bot", "internal", "consent")
"""Why an event is left out; of several the first."""

_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_Domain = Annotated[_Text, StringConstraints(to_lower=True, pattern=r"^[^@\s*?]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Bots(_Section):
    families: tuple[_Text, ...] = ()


class _Internal(_Section):
    user_ids: tuple[_Text, ...] = ()
    email_properties: tuple[_Text, ...] = ("email",)
    email_domains: tuple[_Domain, ...] = ()
    properties: dict[str, bool | int | float | str] = {}


class _Pages(_Section):
    traits: tuple[_Text, ...] = ()
    user_hash: Literal["optional", "required"] = "optional"


class _File(_Section):
    version: Literal[1]
    bots: _Bots = _Bots()
    internal: _Internal = _Internal()
    consent: Literal["refuse_denied", "required"] = "refuse_denied"
    consent_category: _Text | Annotated[tuple[_Text, ...], Field(min_length=1)] = "Analytics"
    pages: _Pages = _Pages()


@dataclass(frozen=True)
class Rules:
    """Everything cleaning.yaml says. Without a file: spiders and those who said no are left out, pages set no trait."""

    bot_families: frozenset[str] = frozenset()
    internal: InternalUsers = field(default_factory=InternalUsers)
    consent: ConsentRule = field(default_factory=ConsentRule)
    pages: PageRules = field(default_factory=PageRules)

    @property
    def watched(self) -> tuple[str, ...]:
        """The properties that are looked at."""
        return self.internal.watched

    def left_out(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Why each event is left out, shape (n,): an index into REASONS, -1 = it is not.

        A frame without the column `user_agent` or `consent` was judged by it before (the lake), or comes from files of
        people who were asked elsewhere.
        """
        nobody = np.zeros(len(frame), bool)
        is_bot = bots(frame["user_agent"], self.bot_families) if "user_agent" in frame else nobody
        is_refused = nobody
        if "consent" in frame:
            said = frame["consent"]
            is_refused = (~said.eq(True) if self.consent.is_required else said.eq(False)).to_numpy(bool)
        reasons = [is_bot, self.internal.among(frame), is_refused]
        return np.asarray(np.select(reasons, range(len(REASONS)), -1), np.int64)


def read_rules(path: Path) -> Rules:
    """The rules of a file. Raises DataError naming the file, the line and what is wrong there."""
    document = read_document(path)
    file = document.parse(_File)
    _check(document, file.internal)
    _check_traits(document, file.pages)
    properties = ((name, _text(value).lower()) for name, value in file.internal.properties.items())
    category = file.consent_category
    return Rules(
        frozenset(file.bots.families),
        InternalUsers(
            file.internal.user_ids,
            file.internal.email_domains,
            file.internal.email_properties,
            tuple(properties),
        ),
        ConsentRule((category,) if isinstance(category, str) else category, file.consent == "required"),
        PageRules(frozenset(file.pages.traits), file.pages.user_hash == "required"),
    )


def _check(document: Document, internal: _Internal) -> None:
    for i, glob in enumerate(internal.user_ids):
        if not glob.strip("*"):
            place = ("internal", "user_ids", i)
            document.refuse(place, f"{glob!r} leaves everybody out; write a pattern that some ids do not have")


def _check_traits(document: Document, pages: _Pages) -> None:
    for i, name in enumerate(pages.traits):
        if audit_name(name):
            place = ("pages", "traits", i)
            document.refuse(place, f"{name!r} is an audit attribute, which no profile holds; take it out")


def _text(value: bool | int | float | str) -> str:
    """As the collector writes values into properties."""
    return as_text(value).strip()

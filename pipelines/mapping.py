"""events.yaml: a product's own event names, property names and format words, and what they are here.

decode reads properties by `fields`, clean counts by `families` and renames formats by `formats`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from feature_repo.activity import NOT_COUNTED
from firstmile.documents import Document, read_document
from firstmile.errors import unknown_name
from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS
from pipelines.call_names import CONTEXT_OBSERVED, DEFAULT_NAMES

VERSION: Final = 2
FIELDS: Final = ("content_id", "format", "page", "step", "field", "target")
"""What an event may be about: columns of clean events, each read from the properties that `fields` lists for it."""
OWN_FIELDS: Final = {name: (name,) for name in FIELDS}
NONE: Final = "none"
COLLECTOR_NAMES: Final = {
    **dict.fromkeys((CONTEXT_OBSERVED, *DEFAULT_NAMES.values()), NOT_COUNTED),
    **{DEFAULT_NAMES[kind]: FAMILIES.index("page_view") for kind in ("page", "screen")},
}
"""Names the collector itself gives: known without being listed, and counted differently only if they are."""
UNKNOWN: Final = FAMILIES.index("unknown")
OTHER: Final = "other"


@dataclass(frozen=True)
class EventMapping:
    """What events.yaml says.

    code_by_name
        Event name → index into FAMILIES, or NOT_COUNTED.
    fields
        For each of FIELDS the names of the properties it is read from; the first that is present wins.
    formats
        The product's format words → FORMATS; the words of FORMATS stand for themselves.
    """

    code_by_name: Mapping[str, int]
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: OWN_FIELDS)
    formats: Mapping[str, str] = field(default_factory=lambda: {word: word for word in FORMATS})

    # Looked up one by one: pandas' `map` takes a millisecond for a column of however few.

    def codes(self, names: Iterable[Any]) -> NDArray[np.int64]:
        """Family code of each name, shape (n,); a name nobody mapped is `unknown`."""
        code_of = self.code_by_name.get
        return np.array([code_of(name, UNKNOWN) for name in names], np.int64)

    def formats_of(self, words: Iterable[Any]) -> NDArray[np.object_]:
        """Format of each word, shape (n,): missing is None, a word nobody mapped is `other`."""
        format_of = self.formats.get
        return np.array([format_of(word, OTHER) if isinstance(word, str) else None for word in words], object)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    families: dict[str, tuple[str, ...]]
    fields: dict[str, tuple[str, ...]] = {}
    formats: dict[str, str] = {}


def read_mapping(path: Path) -> EventMapping:
    """The mapping of a file. Raises DataError naming the file, the line and what is wrong there."""
    document = read_document(path)
    _check_version(document)
    file = document.parse(_File)
    return EventMapping(
        {**COLLECTOR_NAMES, **dict(_codes(document, file))},
        {**OWN_FIELDS, **dict(_fields(document, file))},
        {**{word: word for word in FORMATS}, **dict(_formats(document, file))},
    )


def _check_version(document: Document) -> None:
    said = document.data.get("version") if isinstance(document.data, dict) else None
    if said != VERSION:
        document.refuse(("version",), f"version {said!r}, this is read: version: {VERSION}; see docs/cleaning.md")


def _codes(document: Document, file: _File) -> Iterator[tuple[str, int]]:
    said: dict[str, str] = {}
    for family, names in file.families.items():
        if family != NONE and family not in FAMILIES:
            document.refuse(("families", family), unknown_name("family", family, (*FAMILIES, NONE)))
        for i, name in enumerate(names):
            if name in said:
                document.refuse(("families", family, i), f"{name!r} stands under {said[name]} already; name it once")
            said[name] = family
            yield name, NOT_COUNTED if family == NONE else FAMILIES.index(family)


def _fields(document: Document, file: _File) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, properties in file.fields.items():
        if name not in FIELDS:
            document.refuse(("fields", name), unknown_name("field", name, FIELDS))
        if not properties:
            document.refuse(("fields", name), f"{name} is read from no property; name one, or leave the line out")
        yield name, properties


def _formats(document: Document, file: _File) -> Iterator[tuple[str, str]]:
    for word, known in file.formats.items():
        if known not in FORMATS:
            document.refuse(("formats", word), unknown_name("format", known, FORMATS))
        # Events are cleaned again when the lake is folded: a word of ours must not change by that.
        if word in FORMATS and word != known:
            document.refuse(("formats", word), f"{word!r} is one of our own formats and stands for itself")
        yield word, known

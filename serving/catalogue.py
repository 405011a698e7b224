"""Reads what can be recommended: content.yaml, and the shelves that a hook named in it adds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from feature_repo.distinct import content_hash
from firstmile.documents import Document, read_document
from firstmile.errors import unknown_name
from firstmile.hooks import Hook, call_hook
from firstmile.ids import Id
from firstmile.vocabulary import FORMATS, SKILL_LEVELS

GENERAL: Final = ""
"""The shelf of those whose own is not known."""
UNKNOWN_LEVEL_FIT: Final = 0.5
SHELVES: Final = "shelves"

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Content(BaseModel):
    """One thing to show. `level` and `step` may be unknown; `prerequisites` are content_ids to be done before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content_id: Id
    title: str = Field(min_length=1)
    format: str
    level: str | None = None
    step: str | None = None
    url: str = ""
    prerequisites: tuple[Id, ...] = ()


_SHELVES: Final = TypeAdapter(dict[str, list[Content]])


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[Content, ...]
    shelves: Hook | None = None


@dataclass(frozen=True)
class Shelf:
    """The content of one cohort in catalogue order, with the arrays that ranking works on, each of shape (n_items,).

    hashes
        content_hash of the ids: what a row remembers of content seen.
    format, level
        Index into FORMATS and SKILL_LEVELS; level -1 = unknown.
    order
        0 for the first item to 1 for the last.
    needs
        (index of an item, hashes of its prerequisites), for the items that have any.
    """

    cohort: str
    items: tuple[Content, ...]
    hashes: Ints
    format: Ints
    level: Ints
    order: Floats
    needs: tuple[tuple[int, Ints], ...]

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """Those that items have."""
        return tuple(FORMATS[code] for code in np.unique(self.format))

    def level_fit(self, level: int) -> Floats:
        """How near each item's level is to this one, in [0, 1], shape (n_items,)."""
        return self._level_fits[level]

    @cached_property
    def _level_fits(self) -> tuple[Floats, ...]:
        return tuple(
            np.where(self.level < 0, UNKNOWN_LEVEL_FIT, 1.0 - np.abs(self.level - wanted) / (len(SKILL_LEVELS) - 1))
            for wanted in range(len(SKILL_LEVELS))
        )

    @classmethod
    def of(cls, cohort: str, items: Iterable[Content]) -> "Shelf":
        """A shelf of these items, in this order."""
        items = tuple(items)
        return cls(
            cohort,
            items,
            content_hash([i.content_id for i in items]),
            np.array([FORMATS.index(i.format) for i in items], np.int64),
            np.array([SKILL_LEVELS.index(i.level) if i.level else -1 for i in items], np.int64),
            np.linspace(0.0, 1.0, max(len(items), 1))[: len(items)],
            tuple((at, content_hash(list(i.prerequisites))) for at, i in enumerate(items) if i.prerequisites),
        )


@dataclass(frozen=True)
class Catalogue:
    """Shelves by cohort; the general one is for whoever has none of their own."""

    shelves: Mapping[str, Shelf]

    def shelf(self, cohort: str | None) -> Shelf:
        """The shelf of a cohort, else the general one."""
        return self.shelves.get(cohort or GENERAL) or self.shelves[GENERAL]

    def content_ids(self) -> frozenset[str]:
        """Every id on any shelf."""
        return frozenset(i.content_id for shelf in self.shelves.values() for i in shelf.items)

    def steps(self) -> frozenset[str]:
        """Every step that an item of any shelf has."""
        return frozenset(i.step for shelf in self.shelves.values() for i in shelf.items if i.step)


def load_catalogue(path: Path) -> Catalogue:
    """The catalogue of a content file.

    Raises FileError naming file and line when the file or an item is wrong, and what a hook raises.
    """
    document = read_document(path)
    content = document.parse(_File)
    _check_items(document, content.items)
    shelves = {GENERAL: Shelf.of(GENERAL, content.items)}
    if content.shelves is not None:
        shelves |= {name: Shelf.of(name, items) for name, items in _hooked(document, content.shelves).items()}
    return Catalogue(shelves)


def _hooked(document: Document, hook: Hook) -> dict[str, list[Content]]:
    """Items by shelf, as the hook gives them: what one item of content.yaml says, each as a mapping."""
    found = call_hook(document, (SHELVES,), hook)
    try:
        shelves = _SHELVES.validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        document.refuse((SHELVES,), f"{hook.hook} gave {'.'.join(map(str, first['loc']))}: {first['msg']}")
    for name, items in shelves.items():
        for item in items:
            for kind, said, known in (("format", item.format, FORMATS), ("level", item.level, (*SKILL_LEVELS, None))):
                if said not in known:
                    problem = unknown_name(kind, str(said), [each for each in known if each])
                    document.refuse((SHELVES,), f"{hook.hook}, shelf {name}, {item.content_id}: {problem}")
    return shelves


def _check_items(document: Document, items: tuple[Content, ...]) -> None:
    known = {item.content_id for item in items}
    seen: set[str] = set()
    for at, item in enumerate(items):
        if item.content_id in seen:
            document.refuse(("items", at, "content_id"), f"content_id {item.content_id!r} is given twice")
        seen.add(item.content_id)
        if item.format not in FORMATS:
            document.refuse(("items", at, "format"), unknown_name("format", item.format, FORMATS))
        if item.level is not None and item.level not in SKILL_LEVELS:
            document.refuse(("items", at, "level"), unknown_name("level", item.level, SKILL_LEVELS))
        for needed in item.prerequisites:
            if needed not in known:
                document.refuse(("items", at, "prerequisites"), unknown_name("content_id", needed, known))
    _check_prerequisites(document, items)
    if not items:
        document.refuse(("items",), "at least one item is needed: it is what is shown when nothing is known")


def _check_prerequisites(document: Document, items: tuple[Content, ...]) -> None:
    try:
        TopologicalSorter({item.content_id: item.prerequisites for item in items}).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]  # found from what is needed to what needs it
        at = next(at for at, item in enumerate(items) if item.content_id == circle[0])
        message = f"{' needs '.join(circle)}: nobody could ever be shown these"
        document.refuse(("items", at, "prerequisites"), message)

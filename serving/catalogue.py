"""What can be recommended: content.yaml, and on OULAD the pages of a learner's own course, read from `vle`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from feature_repo.distinct import content_hash
from firstmile.documents import Document, read_document
from firstmile.errors import unknown_name
from firstmile.ids import Id
from firstmile.names import FORMATS, SKILL_LEVELS
from firstmile.oulad import content_format
from firstmile.oulad_columns import read_columns
from firstmile.setting_sections import ROOT

GENERAL: Final = ""
"""The cohort of those whose own catalogue is not known."""
UNKNOWN_LEVEL_FIT: Final = 0.5
NO_WEEK: Final = 10_000
"""Pages without a week come after those with one."""

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


class OuladPages(BaseModel):
    """How pages of OULAD become content: the data knows neither titles nor levels, these tables give them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    url: str
    titles: dict[str, str]
    other_title: str
    levels: dict[str, str]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[Content, ...]
    oulad: OuladPages | None = None


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

    Raises DataError naming file and line when the file or an item is wrong, and the data file when pages cannot be
    read.
    """
    document = read_document(path)
    content = document.parse(_File)
    _check_items(document, content.items)
    shelves = {GENERAL: Shelf.of(GENERAL, content.items)}
    if content.oulad is not None:
        _check_tables(document, content.oulad)
        shelves |= {c: Shelf.of(c, items) for c, items in oulad_content(content.oulad).items()}
    return Catalogue(shelves)


def oulad_content(pages: OuladPages) -> dict[str, list[Content]]:
    """The pages of every presentation as content, by week, then by site; home pages are left out.

    Raises DataError when the pages cannot be read.
    """
    table = read_columns(
        ROOT / pages.data,
        "vle",
        {
            "code_module": "text",
            "code_presentation": "text",
            "id_site": "int",
            "activity_type": "text",
            "week_from": "optional_int",
        },
    )
    by_cohort: dict[str, list[tuple[int, int, Content]]] = {}
    for row in table.to_pylist():
        kind = content_format(row["activity_type"])
        if kind is None:
            continue
        cohort, site, week = f"{row['code_module']}_{row['code_presentation']}", row["id_site"], row["week_from"]
        item = Content(
            content_id=str(site),
            title=f"{pages.titles.get(row['activity_type'], pages.other_title)} {site}",
            format=kind,
            level=pages.levels.get(kind),
            step=None if week is None else f"week-{week}",
            url=_url(pages, cohort, site),
        )
        by_cohort.setdefault(cohort, []).append((NO_WEEK if week is None else week, site, item))
    return {c: [item for *_, item in sorted(rows, key=lambda r: r[:2])] for c, rows in sorted(by_cohort.items())}


def _url(pages: OuladPages, presentation: str, site: int) -> str:
    return pages.url.format(presentation=presentation, site=site)


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


def _check_tables(document: Document, pages: OuladPages) -> None:
    try:
        _url(pages, "AAA_2014J", 1)
    except (ValueError, LookupError, AttributeError, TypeError):
        message = f"url {pages.url!r} has something else in braces than {{presentation}} and {{site}}"
        document.refuse(("oulad", "url"), message)
    for kind, level in pages.levels.items():
        if kind not in FORMATS:
            document.refuse(("oulad", "levels", kind), unknown_name("format", kind, FORMATS))
        if level not in SKILL_LEVELS:
            document.refuse(("oulad", "levels", kind), unknown_name("level", level, SKILL_LEVELS))

"""What the content ranker should have put first: the pages of the course that a learner opens in the next 7 days.

Second table of the same clicks that `labels.py` reads; the home page is no page here. A page opened by day N is known
to the learner, so opening it again is no answer: see `ranking_set.py` for what is a candidate.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from examples.oulad.learning.population import population
from examples.oulad.tables.columns import read_columns
from examples.oulad.tables.tables import IntArray, OuladTables, content_format
from firstmile.errors import DataError
from firstmile.vocabulary import FORMATS
from training.arrays import BoolArray
from training.labelled import Counts, Users

AHEAD_DAYS: Final = 7


@dataclass(frozen=True)
class Openings:
    """Learners of one presentation at day N, and what they opened.

    users
        Columns user_id, cohort, person; sorted by person.
    before, ahead
        Shape (n_users, n_pages): opened by day N; opened in days N+1 … N+7.
    """

    users: Users
    before: BoolArray
    ahead: BoolArray
    counts: Counts


def read_pages(data: Path, presentations: list[str]) -> dict[str, pd.DataFrame]:
    """The pages of each presentation in catalogue order, as serving has them: by week, then by site, no home page.

    Columns id_site, content_id and format (index into FORMATS).

    Raises DataError when the table `vle` of the folder cannot be read, or has no page of a presentation.
    """
    columns = {"code_module": "text", "code_presentation": "text", "id_site": "int", "activity_type": "text"}
    table: pd.DataFrame = read_columns(data, "vle", {**columns, "week_from": "optional_int"}).to_pandas()  # type: ignore[dict-item]
    table["kind"] = [content_format(activity) for activity in table["activity_type"]]
    table = table[table["kind"].notna()].sort_values(["week_from", "id_site"], na_position="last")
    table["format"] = np.array([FORMATS.index(kind) for kind in table["kind"]], np.int64)
    table["content_id"] = table["id_site"].astype(str)
    found = {
        f"{module}_{start}": part[["id_site", "content_id", "format"]].reset_index(drop=True)
        for (module, start), part in table.groupby(["code_module", "code_presentation"])
    }
    without = sorted(set(presentations) - set(found))
    if without:
        raise DataError(f"{data}, vle has no page of {', '.join(without)}; it has those of {', '.join(sorted(found))}")
    return {name: found[name] for name in presentations}


def openings(tables: OuladTables, pages: pd.DataFrame, presentation: str, day: int) -> Openings:
    """Who is being onboarded at the end of `day` of a presentation, and the pages they have opened and will open.

    pages
        As `read_pages` gives them, of this presentation.

    Raises DataError when the course ends before day N+7: nobody could open anything then.
    """
    courses = tables.courses.to_pydict()
    ends = dict(zip(courses["presentation"], courses["module_presentation_length"], strict=True))
    if ends[presentation] < day + AHEAD_DAYS:
        raise DataError(
            f"{presentation} ends on day {ends[presentation]}, so day {day} has no {AHEAD_DAYS} days ahead to look at; "
            "choose an earlier day"
        )
    users, counts = population(_of(tables, presentation), day)
    users = users.sort_values("person", ignore_index=True)
    clicks = tables.clicks.filter(pc.equal(tables.clicks["presentation"], presentation))
    student, site, date = (clicks[name].to_numpy() for name in ("id_student", "id_site", "date"))
    user, page = _index(users["person"].to_numpy(), student), _index(pages["id_site"].to_numpy(), site)
    is_known = (user >= 0) & (page >= 0)

    def opened(when: BoolArray) -> BoolArray:
        chosen = is_known & when
        found = np.zeros((len(users), len(pages)), bool)
        found[user[chosen], page[chosen]] = True
        return found

    ahead = (date > day) & (date <= day + AHEAD_DAYS)
    return Openings(users, opened(date <= day), opened(ahead), counts)


def _of(tables: OuladTables, presentation: str) -> OuladTables:
    """The same tables, registrations of one presentation only."""
    of = pc.equal(tables.registrations["presentation"], presentation)
    return replace(tables, registrations=tables.registrations.filter(of))


def _index(known: IntArray, asked: IntArray) -> IntArray:
    """Where each asked number stands among the known ones, which are unique; -1 = not among them."""
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known, asked, sorter=order), max(len(known) - 1, 0))
    if not len(known):
        return np.full(len(asked), -1, np.int64)
    return np.where(known[order[at]] == asked, order[at], -1).astype(np.int64)

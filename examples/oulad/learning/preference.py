"""Which format of content a learner turns to next: the label of `preference`."""

from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from examples.oulad.learning.population import course_ends, population
from examples.oulad.tables.tables import OuladTables, content_format
from training.labelled import Counts, Users, labelled, leave_out

LEARNED_FORMATS: Final = ("community", "document", "guide", "lesson", "quiz")
"""The formats of pages, as labels.yaml has them; the home page has none."""


def preference(tables: OuladTables, day: int) -> tuple[Users, Counts]:
    """Index into LEARNED_FORMATS of the format with most clicks (sum_click) in days N+1 … 2N.

    Ties go to the first in the alphabet; the home page has no format. Only who has one: who opens no content in these
    days is left out, counted. Clicks after a learner's own unregistration are clicks; a presentation that is over
    before day 2N cannot carry the label.

    day
        N, at least 1: on day 0 the days N+1 … 2N are none, and everybody is left out.
    """
    users, counts = population(tables, day)
    until = 2 * day
    clicks = _clicks_by_format(tables, day + 1, until)
    # LEARNED_FORMATS is in alphabetical order, and argmax takes the first of equals.
    favourite = clicks.reindex(columns=range(len(LEARNED_FORMATS)), fill_value=0).idxmax(axis=1)
    chosen = users["user_id"].map(favourite)
    users, out = leave_out(
        users,
        {"course over": users["cohort"].map(course_ends(tables)) < until, "no content opened": chosen.isna()},
    )
    return labelled(users, chosen[users.index], until, counts + out)


def _clicks_by_format(tables: OuladTables, first: int, last: int) -> pd.DataFrame:
    """Clicks of each user on each format in days first … last: index user_id, columns are indices of formats."""
    kinds = [content_format(kind) for kind in tables.pages["activity_type"].to_pylist()]
    codes = pa.array([None if k is None else LEARNED_FORMATS.index(k) for k in kinds], pa.int64())
    pages = tables.pages.select(["presentation", "id_site"]).append_column("format", codes)
    date = tables.clicks["date"]
    inside = tables.clicks.filter(pc.and_(pc.greater_equal(date, first), pc.less_equal(date, last)))
    known = inside.join(pages, ["presentation", "id_site"]).filter(pc.field("format").is_valid())
    sums = known.group_by(["user_id", "format"]).aggregate([("sum_click", "sum")]).to_pandas()
    table: pd.DataFrame = sums.pivot(index="user_id", columns="format", values="sum_click_sum").fillna(0)
    return table

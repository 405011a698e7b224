"""The OULAD tables as events: every click row one event, plus milestones and generated context and system logs.

    click row on the home page        "Page Viewed", page home             weight = sum_click
    click row on any other page       "Content Opened", content_id, format weight = sum_click
    registration                      identify, "Signed Up"                oulad_milestones.py
    unregistration                    "Unregistered"
    hand-in not carried over          "Assessment Submitted", later "Assessment Marked"
    generated, marked as such         "Context Observed", "Email Delivered", "Server Error"   oulad_extras.py

Message ids, times of day and generated events depend on the user, the day and the seed alone: any choice of
presentations and days gives exactly the events the whole would give for them. Audit attributes are never read.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from examples.oulad.events.clock import session_offsets_us
from examples.oulad.events.draft import draft, id_name, stamp, user_keys
from examples.oulad.events.extras import generated
from examples.oulad.events.milestones import marks, milestones
from examples.oulad.tables.tables import HOMEPAGE, IntArray, OuladTables, ShiftDays, content_format
from firstmile.errors import DataError

SEED = 20131001
MARKING_DELAY_DAYS = 14


@dataclass(frozen=True)
class DayRange:
    """Days from `first` to `last`, both included; None: no limit."""

    first: int | None = None
    last: int | None = None

    def of(self, table: pa.Table, column: str) -> pa.Table:
        """The rows of a table whose day lies in the range."""
        if self.first is not None:
            table = table.filter(pc.greater_equal(table[column], self.first))
        if self.last is not None:
            table = table.filter(pc.less_equal(table[column], self.last))
        return table


def oulad_events(
    tables: OuladTables,
    *,
    from_day: int | None = None,
    to_day: int | None = None,
    shift_days: ShiftDays = 0,
    seed: int = SEED,
    marking_delay_days: int = MARKING_DELAY_DAYS,
) -> pa.Table:
    """All events of days from_day … to_day (included; None: no limit), sorted by (received_us, message_id).

    shift_days
        Whole days added to every time; one number, or one per presentation.

    Returns a table of schema `examples.oulad.events.draft.EVENTS`. The profiles are in `oulad_profiles`.
    Raises DataError when a click names a page the data set does not have.
    """
    days = DayRange(from_day, to_day)
    clicks = _clicks(days.of(tables.clicks, "date"), tables.pages, seed)
    drafts = [
        clicks,
        days.of(milestones(tables, seed), "day"),
        days.of(marks(tables, seed, marking_delay_days), "day"),
        days.of(generated(tables, clicks, seed), "day"),
    ]
    events = stamp(pa.concat_tables(drafts), shift_days=shift_days, seed=seed)
    return events.take(_order(events))


def _clicks(rows: pa.Table, pages: pa.Table, seed: int) -> pa.Table:
    page_key, row_key = (
        pc.binary_join_element_wise(table["presentation"], table["id_site"].cast(pa.string()), "/")
        for table in (pages, rows)
    )
    at = pc.index_in(row_key, page_key.combine_chunks())
    if at.null_count:
        lost = row_key.filter(pc.is_null(at))[0].as_py()
        raise DataError(f"studentVle, column id_site: page {lost} is not in vle ({at.null_count} such rows)")
    is_home = pc.equal(pages["activity_type"].take(at), HOMEPAGE)
    formats = pa.array([content_format(a) for a in pages["activity_type"].to_pylist()], pa.string())
    text = pa.scalar(None, pa.string())
    users, days = user_keys(rows), rows["date"].to_numpy()
    ordinals = pa.array(_ordinals(users, days, rows["id_site"].to_numpy()))
    return draft(
        rows,
        rows["date"],
        session_offsets_us(users, days, seed),
        id_name("studentVle", rows, rows["id_site"], rows["date"], ordinals),
        type=pc.if_else(is_home, "page", "track"),
        name=pc.if_else(is_home, "Page Viewed", "Content Opened"),
        weight=rows["sum_click"],
        content_id=pc.if_else(is_home, text, rows["id_site"].cast(pa.string())),
        format=formats.take(at.combine_chunks()),
        page=pc.if_else(is_home, pa.scalar("home"), text),
    )


def _ordinals(*keys: IntArray) -> IntArray:
    """How many earlier rows have the same keys, for each row."""
    n = len(keys[0])
    order = np.lexsort(keys)
    is_first = np.ones(n, dtype=bool)
    is_first[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    starts = np.flatnonzero(is_first)
    found = np.empty(n, dtype=np.int64)
    found[order] = np.arange(n) - (starts[np.cumsum(is_first) - 1] if n else 0)
    return found


def _order(events: pa.Table) -> pa.Array:
    return pc.sort_indices(events, sort_keys=[("received_us", "ascending"), ("message_id", "ascending")])

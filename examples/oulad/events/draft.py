"""An OULAD event before the calendar is applied: its day and its moment within the day; then, stamped, the event.

Every kind of event (clicks, milestones, generated ones) is drafted by its own file; stamping is the same for all.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from examples.oulad.events.clock import received_delay_us
from examples.oulad.events.message_ids import message_ids
from examples.oulad.events.seeded import text_keys
from examples.oulad.tables.tables import IntArray, ShiftDays, day_starts_us, user_ids
from firstmile.names import USER_ACTIONS

PROPERTIES = pa.map_(pa.string(), pa.string())

_SAID = [
    ("topic", pa.string()),
    ("type", pa.string()),
    ("name", pa.string()),
    ("weight", pa.int64()),
    ("content_id", pa.string()),
    ("format", pa.string()),
    ("page", pa.string()),
    ("step", pa.string()),
    ("onboarding_day", pa.int64()),
    ("properties", PROPERTIES),
]
DRAFT = pa.schema(
    [
        ("presentation", pa.string()),
        ("id_student", pa.int64()),
        ("user_id", pa.string()),
        ("day", pa.int64()),
        ("offset_us", pa.int64()),
        ("id_name", pa.string()),  # what the message id is the UUIDv5 of
        *_SAID,
    ]
)
_DEFAULTS = {"topic": USER_ACTIONS, "type": "track", "weight": 1}

EVENTS = pa.schema(
    [
        ("topic", pa.string()),
        ("message_id", pa.string()),
        ("user_id", pa.string()),
        ("type", pa.string()),
        ("name", pa.string()),
        ("event_us", pa.int64()),
        ("received_us", pa.int64()),
        ("weight", pa.int64()),
        ("content_id", pa.string()),
        ("format", pa.string()),
        ("page", pa.string()),
        ("step", pa.string()),
        ("onboarding_us", pa.int64()),
        ("properties", PROPERTIES),
    ]
)
"""Columns of an events table; times in µs since epoch UTC. content_id … onboarding_us and properties are nullable."""


def draft(rows: pa.Table, day: Any, offset_us: IntArray, id_name: Any, **said: Any) -> pa.Table:
    """Draft events, one per row of a table with presentation and id_student.

    said
        Columns of DRAFT from topic on: one value for all rows, or a column; what is not said is a default or null.
    """
    n = rows.num_rows
    columns = {
        "presentation": rows["presentation"],
        "id_student": rows["id_student"],
        "user_id": rows["user_id"] if "user_id" in rows.column_names else user_ids(rows),
        "day": day,
        "offset_us": offset_us,
        "id_name": id_name,
    }
    for name, kind in _SAID:
        value = said.get(name, _DEFAULTS.get(name))
        columns[name] = pa.repeat(pa.scalar(value, kind), n) if isinstance(value, str | int | None) else value
    return pa.table(columns, schema=DRAFT)


def id_name(file: str, rows: pa.Table, *parts: Any) -> pa.ChunkedArray:
    """Names to hash into message ids: file/presentation/student/part/…"""
    texts = [p if isinstance(p, str) else p.cast(pa.string()) for p in parts]
    return pc.binary_join_element_wise(file, rows["presentation"], rows["id_student"].cast(pa.string()), *texts, "/")


def user_keys(rows: pa.Table) -> Any:
    """Keys of invented numbers, one per user."""
    return text_keys(rows["user_id"] if "user_id" in rows.column_names else user_ids(rows))


def stamp(drafts: pa.Table, *, shift_days: ShiftDays, seed: int) -> pa.Table:
    """Drafts put on the calendar, with their message ids: a table of schema EVENTS, in the order given."""
    event_us = day_starts_us(drafts["presentation"], drafts["day"], shift_days) + drafts["offset_us"].to_numpy()
    delay_us = received_delay_us(
        seed,
        user_keys(drafts),
        text_keys(drafts["name"]),
        drafts["day"].to_numpy(),
        drafts["offset_us"].to_numpy(),
    )
    is_onboarding = pc.is_valid(drafts["onboarding_day"])
    onboarding_us = day_starts_us(drafts["presentation"], pc.fill_null(drafts["onboarding_day"], 0), shift_days)
    columns = {name: drafts[name] for name in EVENTS.names if name in DRAFT.names}
    return (
        pa.table(
            {
                **columns,
                "message_id": message_ids(drafts["id_name"]),
                "event_us": event_us,
                "received_us": event_us + delay_us,
                "onboarding_us": pc.if_else(is_onboarding, pa.array(onboarding_us), pa.scalar(None, pa.int64())),
            }
        )
        .select(EVENTS.names)
        .cast(EVENTS)
    )


def moments(drafts: pa.Table) -> tuple[Any, Any, Any]:
    """(user keys, days, offsets) of drafts as arrays."""
    return user_keys(drafts), np.asarray(drafts["day"]), np.asarray(drafts["offset_us"])

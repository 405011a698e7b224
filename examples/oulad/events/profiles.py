"""What a CRM would know of an OULAD learner: course and study history. Audit attributes are never among it."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from examples.oulad.events.clock import received_delay_us
from examples.oulad.events.draft import id_name, user_keys
from examples.oulad.events.events import SEED
from examples.oulad.events.message_ids import message_ids
from examples.oulad.events.milestones import sign_up_offset_us
from examples.oulad.tables.tables import OuladTables, ShiftDays, day_starts_us, module_of
from firstmile.clock import MICROS_PER_S

PROFILE_COLUMNS = pa.schema(
    [
        ("message_id", pa.string()),
        ("user_id", pa.string()),
        ("updated_us", pa.int64()),
        ("received_us", pa.int64()),
        ("product", pa.string()),
        ("cohort", pa.string()),
        ("prior_attempts", pa.int64()),
        ("studied_credits", pa.int64()),
    ]
)
TRAITS = PROFILE_COLUMNS.names[4:]


def oulad_profiles(
    tables: OuladTables, *, to_day: int | None = None, shift_days: ShiftDays = 0, seed: int = SEED
) -> pa.Table:
    """One profile per enrolment registered by `to_day` (None: all), known with the learner's `identify`.

    Whose registration day is missing has a profile from day 0. Returns schema PROFILE_COLUMNS, by (received_us, user).
    """
    day = pc.fill_null(tables.registrations["date_registration"], 0)
    registrations = tables.registrations.append_column("day", day)
    at = pc.index_in(tables.info["user_id"], registrations["user_id"].combine_chunks())
    info = tables.info.append_column("day", pc.fill_null(registrations["day"].take(at), 0))
    if to_day is not None:
        info = info.filter(pc.less_equal(info["day"], to_day))
    offset_us = sign_up_offset_us(info, seed) - MICROS_PER_S
    updated_us = day_starts_us(info["presentation"], info["day"], shift_days) + offset_us
    profiles = pa.table(
        {
            "message_id": message_ids(id_name("studentInfo", info, "profile")),
            "user_id": info["user_id"],
            "updated_us": updated_us,
            "received_us": updated_us + received_delay_us(seed, user_keys(info)),
            "product": pa.array([module_of(p) for p in info["presentation"].to_pylist()], pa.string()),
            "cohort": info["presentation"],
            "prior_attempts": info["num_of_prev_attempts"],
            "studied_credits": info["studied_credits"],
        },
        schema=PROFILE_COLUMNS,
    )
    return profiles.sort_by([("received_us", "ascending"), ("user_id", "ascending")])


def profile_records(profiles: pa.Table) -> Iterator[dict[str, Any]]:
    """The crm.profiles records of a table of schema PROFILE_COLUMNS; traits are text there."""
    for row in profiles.to_pylist():
        yield {
            "message_id": row["message_id"],
            "user_id": row["user_id"],
            "updated_at": row["updated_us"],
            "received_at": row["received_us"],
            "traits": {name: str(row[name]) for name in TRAITS},
        }

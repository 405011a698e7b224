"""OULAD milestones as draft events: signing up, leaving, handing in, being marked."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from examples.oulad.events.clock import moment_us
from examples.oulad.events.draft import PROPERTIES, draft, id_name, user_keys
from examples.oulad.tables.tables import IntArray, OuladTables
from firstmile.clock import MICROS_PER_S

SIGN_UP_HOURS = (4.0, 5.5)
HAND_IN_HOURS = (18.0, 23.0)
LEAVING_HOURS = (23.0, 23.99)


def sign_up_offset_us(rows: pa.Table, seed: int) -> IntArray:
    """The moment of sign-up within its day, one per user."""
    return moment_us(seed, "sign-up", SIGN_UP_HOURS, user_keys(rows))


def milestones(tables: OuladTables, seed: int) -> pa.Table:
    """identify, Signed Up, Unregistered and Assessment Submitted; a registration without a day gives neither of the
    first two, a hand-in carried over from an earlier attempt nothing."""
    registered = tables.registrations.filter(pc.is_valid(tables.registrations["date_registration"]))
    left = tables.registrations.filter(pc.is_valid(tables.registrations["date_unregistration"]))
    day, offset = registered["date_registration"], sign_up_offset_us(registered, seed)
    return pa.concat_tables(
        [
            draft(
                registered,
                day,
                offset - MICROS_PER_S,
                id_name("studentRegistration", registered, "identify"),
                type="identify",
                name="identify",
            ),
            draft(
                registered,
                day,
                offset,
                id_name("studentRegistration", registered, "signed-up"),
                name="Signed Up",
                step="sign_up",
                onboarding_day=pc.max_element_wise(day, 0),
            ),
            draft(
                left,
                left["date_unregistration"],
                moment_us(seed, "leaving", LEAVING_HOURS, user_keys(left)),
                id_name("studentRegistration", left, "unregistered"),
                name="Unregistered",
            ),
            _submissions(tables, seed),
        ]
    )


def marks(tables: OuladTables, seed: int, delay_days: int) -> pa.Table:
    """Assessment Marked, `delay_days` after the hand-in; a hand-in without a score is never marked."""
    rows = _handed_in(tables)
    rows = rows.filter(pc.is_valid(rows["score"]))
    pairs = zip(rows["score"].to_pylist(), rows["id_assessment"].to_pylist(), strict=True)
    return draft(
        rows,
        pc.add(rows["date_submitted"], delay_days),
        _moment(rows, "marked", seed),
        id_name("studentAssessment", rows, rows["id_assessment"], "marked"),
        name="Assessment Marked",
        properties=pa.array([[("score", f"{s:g}"), ("id_assessment", str(a))] for s, a in pairs], PROPERTIES),
    )


def _submissions(tables: OuladTables, seed: int) -> pa.Table:
    rows = _handed_in(tables)
    at = pc.index_in(rows["id_assessment"], tables.assessments["id_assessment"].combine_chunks())
    kind = tables.assessments["assessment_type"].take(at)
    return draft(
        rows,
        rows["date_submitted"],
        _moment(rows, "submitted", seed),
        id_name("studentAssessment", rows, rows["id_assessment"], "submitted"),
        name="Assessment Submitted",
        step=pc.binary_join_element_wise(kind, rows["id_assessment"].cast(pa.string()), "-"),
    )


def _handed_in(tables: OuladTables) -> pa.Table:
    return tables.hand_ins.filter(pc.invert(tables.hand_ins["is_banked"]))


def _moment(rows: pa.Table, purpose: str, seed: int) -> Any:
    return moment_us(seed, purpose, HAND_IN_HOURS, user_keys(rows), rows["id_assessment"].to_numpy())

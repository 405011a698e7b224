"""OULAD as events: nothing lost, nothing doubled, the same whichever part is asked for, nothing audited inside."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from examples.oulad.events.clock import LAST_OFFSET_US, session_offsets_us
from examples.oulad.events.draft import EVENTS
from examples.oulad.events.events import oulad_events
from examples.oulad.events.message_ids import NAMESPACE, message_ids
from examples.oulad.events.profiles import TRAITS, oulad_profiles, profile_records
from examples.oulad.tables import tables as oulad
from firstmile.clock import MICROS_PER_DAY, MICROS_PER_S
from firstmile.errors import DataError
from firstmile.names import CONTEXT, SYSTEM_LOGS, USER_ACTIONS
from firstmile.vocabulary import AUDIT_ATTRIBUTES

DATA = Path(__file__).parents[2] / "data" / "oulad"
CLICKS = pa.array(["Page Viewed", "Content Opened"])


@pytest.fixture(scope="module")
def tables() -> oulad.OuladTables:
    return oulad.read(DATA)


@pytest.fixture(scope="module")
def events(tables: oulad.OuladTables) -> pa.Table:
    return oulad_events(tables)


def named(events: pa.Table, name: str) -> pa.Table:
    return events.filter(pc.equal(events["name"], name))


def test_every_click_row_is_one_event_and_its_weight_is_kept(events: pa.Table) -> None:
    clicks = events.filter(pc.is_in(events["name"], CLICKS))
    assert clicks.num_rows == 753_564
    assert pc.sum(clicks["weight"]).as_py() == 2_594_563
    assert pc.unique(clicks["topic"]).to_pylist() == [USER_ACTIONS]


def test_message_ids_are_distinct_over_all_events(events: pa.Table) -> None:
    assert pc.count_distinct(events["message_id"]).as_py() == events.num_rows


def test_clicks_of_one_student_page_and_day_are_numbered_in_file_order(tables: oulad.OuladTables) -> None:
    one = tables.clicks.filter(pc.equal(tables.clicks["user_id"], "AAA_2013J-28400"))
    few = oulad_events(oulad.OuladTables(**{**vars(tables), "clicks": one}))
    weight = dict(zip(few["message_id"].to_pylist(), few["weight"].to_pylist(), strict=True))
    seen: dict[tuple[int, int], int] = {}
    for row in one.to_pylist():
        key = (row["id_site"], row["date"])
        ordinal = seen[key] = seen.get(key, -1) + 1
        name = f"studentVle/AAA_2013J/28400/{row['id_site']}/{row['date']}/{ordinal}"
        assert weight[str(uuid.uuid5(NAMESPACE, name))] == row["sum_click"]
    assert max(seen.values()) > 0


def test_message_ids_equal_uuid5() -> None:
    names = ["", "a", "studentVle/AAA_2013J/28400/546652/-10/0", "ä€😀", "x" * 500]
    assert message_ids(pa.chunked_array([names])).to_pylist() == [str(uuid.uuid5(NAMESPACE, n)) for n in names]
    assert message_ids(pa.chunked_array([[]], pa.string())).to_pylist() == []


def test_milestones_are_counted_as_in_the_files(events: pa.Table, tables: oulad.OuladTables) -> None:
    hand_ins = tables.hand_ins
    earned = hand_ins.filter(pc.invert(hand_ins["is_banked"]))
    assert named(events, "Signed Up").num_rows == named(events, "identify").num_rows == 2_514
    assert named(events, "Unregistered").num_rows == pc.count(tables.registrations["date_unregistration"]).as_py()
    assert named(events, "Assessment Submitted").num_rows == earned.num_rows == 14_329
    assert named(events, "Assessment Marked").num_rows == pc.count(earned["score"]).as_py()
    assert set(named(events, "identify")["type"].to_pylist()) == {"identify"}


def test_sign_up_knows_when_the_onboarding_begins(events: pa.Table) -> None:
    found = {r["user_id"]: r for r in named(events, "Signed Up").to_pylist()}
    early = found["AAA_2013J-11391"]  # registered on day -159
    assert early["step"] == "sign_up"
    assert early["onboarding_us"] == oulad.day_start_us("AAA_2013J", 0)
    assert oulad.day_start_us("AAA_2013J", -159) <= early["event_us"] <= oulad.day_end_us("AAA_2013J", -159)
    assert pc.count(events["onboarding_us"]).as_py() == 2_514


def test_sign_up_after_day_0_begins_the_onboarding_on_its_own_day(events: pa.Table, tables: oulad.OuladTables) -> None:
    late = tables.registrations.filter(pc.greater(tables.registrations["date_registration"], 0)).to_pylist()
    found = {r["user_id"]: r["onboarding_us"] for r in named(events, "Signed Up").to_pylist()}
    assert late
    for row in late:
        assert found[row["user_id"]] == oulad.day_start_us(row["presentation"], row["date_registration"])


def test_mark_comes_the_marking_delay_after_the_hand_in() -> None:
    events = oulad_events(oulad.read(DATA, ["AAA_2013J"]), marking_delay_days=3)
    mine = events.filter(pc.equal(events["user_id"], "AAA_2013J-11391"))
    (submitted,) = [r for r in named(mine, "Assessment Submitted").to_pylist() if r["step"] == "TMA-1752"]
    (marked,) = [
        r for r in named(mine, "Assessment Marked").to_pylist() if ("id_assessment", "1752") in r["properties"]
    ]
    assert submitted["event_us"] // MICROS_PER_DAY + 3 == marked["event_us"] // MICROS_PER_DAY
    assert dict(marked["properties"])["score"] == "78"


def test_events_are_in_order_of_receipt_and_received_on_their_day(events: pa.Table) -> None:
    received, happened = events["received_us"].to_numpy(), events["event_us"].to_numpy()
    assert (np.diff(received) >= 0).all()
    delay = received - happened
    assert delay.min() >= 50_000
    assert delay.max() <= 2 * MICROS_PER_S
    assert (received // MICROS_PER_DAY == happened // MICROS_PER_DAY).all()


def test_click_events_stay_on_the_day_of_their_row(events: pa.Table, tables: oulad.OuladTables) -> None:
    clicks = events.filter(pc.is_in(events["name"], CLICKS))
    days = np.sort(clicks["event_us"].to_numpy() // MICROS_PER_DAY)
    starts = oulad.day_starts_us(tables.clicks["presentation"], tables.clicks["date"])
    assert days.tolist() == np.sort(starts // MICROS_PER_DAY).tolist()


def test_same_input_gives_the_same_events(events: pa.Table, tables: oulad.OuladTables) -> None:
    assert oulad_events(tables).equals(events)
    assert not oulad_events(tables, seed=1).equals(events)


def test_a_part_is_exactly_that_part_of_the_whole(events: pa.Table) -> None:
    part = oulad_events(oulad.read(DATA, ["AAA_2014J"]), from_day=3, to_day=20)
    first, last = oulad.day_start_us("AAA_2014J", 3), oulad.day_end_us("AAA_2014J", 20)
    is_part = pc.and_(
        pc.starts_with(events["user_id"], "AAA_2014J-"),
        pc.and_(pc.greater_equal(events["event_us"], first), pc.less_equal(events["event_us"], last)),
    )
    assert part.num_rows > 10_000
    assert part.equals(events.filter(is_part))


def test_shift_moves_times_by_whole_days_and_nothing_else(events: pa.Table, tables: oulad.OuladTables) -> None:
    shifted = oulad_events(tables, shift_days=dict.fromkeys(tables.presentations, 100))
    for column in EVENTS.names:
        if column.endswith("_us"):
            assert pc.subtract(shifted[column], 100 * MICROS_PER_DAY).equals(events[column])
        else:
            assert shifted[column].equals(events[column])


def test_generated_events_say_so_and_recorded_ones_do_not(events: pa.Table) -> None:
    for row in events.filter(pc.is_valid(events["properties"])).to_pylist():
        is_generated = ("generated", "true") in row["properties"]
        assert is_generated == (row["topic"] in (CONTEXT, SYSTEM_LOGS))
    assert set(events["topic"].to_pylist()) == {USER_ACTIONS, CONTEXT, SYSTEM_LOGS}
    assert named(events, "Context Observed").num_rows > 2_514
    assert named(events, "Server Error").num_rows > 1_000


def test_no_audit_attribute_enters_any_event_or_profile(events: pa.Table, tables: oulad.OuladTables) -> None:
    audited = {
        str(value) for name in AUDIT_ATTRIBUTES for value in pc.unique(tables.info[name]).to_pylist() if value
    } - {"Y", "N", "M", "F"}  # single letters cannot be told from other text
    assert "Scotland" in audited
    texts = {c: set(pc.unique(events[c]).to_pylist()) for c in EVENTS.names if events[c].type == pa.string()}
    pairs = events["properties"].combine_chunks()
    texts["keys"], texts["values"] = set(pairs.keys.to_pylist()), set(pairs.items.to_pylist())
    for found in texts.values():
        assert not found & (audited | set(AUDIT_ATTRIBUTES))
    records = list(profile_records(oulad_profiles(tables)))
    assert len(records) == 2_515
    for record in records:
        assert set(record["traits"]) == set(TRAITS)
        assert not set(record["traits"].values()) & audited
    assert not set(TRAITS) & set(AUDIT_ATTRIBUTES)


def test_one_profile_per_enrolment_known_with_its_identify(events: pa.Table, tables: oulad.OuladTables) -> None:
    profiles = {r["user_id"]: r for r in oulad_profiles(tables).to_pylist()}
    assert len(profiles) == 2_515
    identified = named(events, "identify").to_pylist()
    assert len(identified) == 2_514  # one registration has no day
    for event in identified:
        assert profiles[event["user_id"]]["updated_us"] == event["event_us"]
    assert profiles["AAA_2013J-11391"]["product"] == "AAA"
    assert profiles["AAA_2013J-11391"]["cohort"] == "AAA_2013J"
    assert profiles["AAA_2013J-11391"]["studied_credits"] == 240
    assert oulad_profiles(tables, to_day=-100).num_rows < 2_515


def test_empty_range_gives_an_empty_table_of_the_same_columns(tables: oulad.OuladTables) -> None:
    assert oulad_events(tables, from_day=5_000).schema == EVENTS
    assert oulad_events(tables, from_day=5_000).num_rows == 0


def test_a_click_on_an_unknown_page_is_named(tables: oulad.OuladTables) -> None:
    broken: Mapping[str, Any] = {**vars(tables), "pages": tables.pages.slice(1)}
    with pytest.raises(DataError, match="column id_site: page AAA_2013J/546943 is not in vle"):
        oulad_events(oulad.OuladTables(**broken))


def test_a_day_too_full_is_compressed_and_never_leaves_the_day() -> None:
    n = 5_000
    offsets = session_offsets_us(np.full(n, 7, dtype=np.uint64), np.zeros(n, dtype=np.int64), seed=1)
    assert (np.diff(offsets) > 0).all()
    assert offsets[-1] <= LAST_OFFSET_US

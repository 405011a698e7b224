"""Times as clients write them, and what a wrong one costs."""

from typing import Any

import pytest
from collector_builder import RECEIVED_US, Door, error_of, listed, track
from hypothesis import given
from hypothesis import strategies as st

from firstmile.clock import to_datetime
from pipelines.call_fields import CallError
from pipelines.client_times import instant_us

AT_US = 1_795_428_000_000_000
"""2026-11-23T10:00:00Z"""


@pytest.mark.parametrize(
    ("said", "after_us"),
    [
        ("2026-11-23T10:00:00Z", 0),
        ("2026-11-23t10:00:00z", 0),
        (" 2026-11-23 10:00:00\n", 0),
        ("2026-11-23T10:00:00.123Z", 123_000),
        ("2026-11-23T10:00:00.123456789Z", 123_456),
        ("2026-11-23T10:00:00,5", 500_000),
        ("2026-11-23T09:59:60Z", 0),
        ("2026-11-23T09:59:60.25Z", 250_000),
        ("20261123T095960Z", 0),
        ("2026-11-23T11:30:00+01:30", 0),
        ("2026-11-23T11:30:00+0130", 0),
        ("2026-11-23 05:00:00 -05", 0),
        ("2026-11-22T10:01:00-23:59", 0),
        ("2026-11-23 10:00:00 UTC", 0),
        ("2026-11-23T10:00:00 GMT", 0),
        ("Nov 23, 2026 10:00:00 AM", 0),
        ("Nov 23, 2026, 10:00:00\u202fAM", 0),
        ("Mon, 23 Nov 2026 10:00:00 GMT", 0),
        ("Mon Nov 23 2026 11:00:00 GMT+0100 (Central European Standard Time)", 0),
        ("Mon Nov 23 10:00:00 UTC 2026", 0),
        (AT_US // 1_000_000, 0),
        (AT_US // 1_000_000 + 0.5, 500_000),
        (AT_US // 1_000, 0),
        (AT_US, 0),
        (AT_US * 1_000, 0),
        (str(AT_US // 1_000_000), 0),
        (f"{AT_US // 1_000_000}.5", 500_000),
        (str(AT_US // 1_000), 0),
    ],
)
def test_time_is_read(said: Any, after_us: int) -> None:
    assert instant_us(said, "timestamp") == AT_US + after_us


@pytest.mark.parametrize(
    "said", ["yesterday", "10:00", "²", "2026-11-23T10:60:00Z", "0" * 200, -5, True, [], {}, 1e300, "1" * 21]
)
def test_what_is_no_time_is_refused(said: Any) -> None:
    with pytest.raises(CallError, match="is not a time of 1970 or later"):
        instant_us(said, "timestamp")


@pytest.mark.parametrize("said", [None, "", "  "])
def test_nothing_said_is_no_time(said: Any) -> None:
    assert instant_us(said, "timestamp") is None


@given(us=st.integers(0, 253_402_300_799_999_999))
def test_iso_text_of_any_instant_is_that_instant(us: int) -> None:
    assert instant_us(to_datetime(us).isoformat(), "timestamp") == us


@given(said=st.one_of(st.text(), st.floats(), st.integers()))
def test_any_value_is_a_time_or_refused(said: Any) -> None:
    try:
        found = instant_us(said, "timestamp")
    except CallError:
        return
    assert found is None or 0 <= found < 1 << 63


def times(**call: Any) -> tuple[int, list[str]]:
    """How long before its receiving an event happened, and what the answer notes."""
    door = Door()
    answer = door.post(track(**call))
    ((_, record),) = door.kept.records()
    return RECEIVED_US - record["event_time"], [code for _, code in listed(answer, "notes")]


def test_events_kept_by_rudderstacks_clients_offline_keep_their_time() -> None:
    said = {"originalTimestamp": "2026-11-23T09:00:00Z", "sentAt": "2026-11-23T10:00:00Z"}
    assert times(**said) == (3_600_000_000, [])
    assert times(originalTimestamp="2026-11-23T09:00:00Z") == (3 * 3_600_000_000, [])
    assert times(**said, timestamp="2026-11-23T09:59:00Z") == (60_000_000, [])
    assert times(**said, timestamp="") == (3_600_000_000, [])


@pytest.mark.parametrize("sent", ["yesterday", 7.5e300, {}, "9999-01-01T00:00:00Z"])
def test_wrong_sent_at_costs_the_correction_and_no_event(sent: Any) -> None:
    before = 2 * 3_600_000_000
    assert times(timestamp="2026-11-23T10:00:00Z", sentAt=sent) == (before, ["bad_sent_at"])
    door = Door()
    calls = [track(timestamp="2026-11-23T10:00:00Z")] * 2
    answer = door.post({"batch": calls, "sentAt": sent}, "/v1/batch")
    assert answer.status_code == 200
    assert {note["code"] for note in answer.json()["notes"]} == {"bad_sent_at"}
    assert [RECEIVED_US - record["event_time"] for _, record in door.kept.records()] == [before] * 2
    assert [record["sent_at"] for _, record in door.kept.records()] == [None] * 2


def test_batch_whose_sent_at_is_none_is_told_once() -> None:
    answer = Door().post({"batch": [track()] * 3, "sentAt": "yesterday"}, "/v1/batch")
    assert [sorted(note) for note in answer.json()["notes"]] == [["code", "hint", "message"]]


def test_event_with_an_unreadable_timestamp_is_refused_alone() -> None:
    answer = Door().post({"batch": [track(timestamp="yesterday"), track()]}, "/v1/batch")
    assert listed(answer, "errors") == [(0, "bad_time")]
    assert error_of(Door().post(track(timestamp="yesterday"))) == (400, "bad_time")

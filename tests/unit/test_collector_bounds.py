"""What the stream would throw away is refused at the collector's door, or left out and told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from collector_builder import RECEIVED_US, Door, error_of, listed, track

from firstmile.clock import iso
from pipelines.bounds import EARLIEST_US, MAX_ONBOARDING_AHEAD_US, MAX_RECORD_BYTES

DAY_US = 86_400_000_000


def onboarding(value: Any) -> tuple[str | None, list[str]]:
    """What is written of onboarding_at, and the notes of the answer."""
    door = Door()
    answer = door.post(track(properties={"onboarding_at": value, "step": "profile"}))
    ((_, record),) = door.kept.records()
    assert record["properties"]["step"] == "profile"
    return record["properties"].get("onboarding_at"), [code for _, code in listed(answer, "notes")]


def test_event_over_the_size_of_a_record_is_refused_alone() -> None:
    door = Door()
    small, large = track(properties={"x": "y" * 60_000}), track(properties={"x": "y" * MAX_RECORD_BYTES})
    assert error_of(door.post(large)) == (413, "event_too_large")
    answer = door.post({"batch": [small, large, small]}, "/v1/batch")
    assert listed(answer, "errors") == [(1, "event_too_large")]
    assert door.kept.reasons() == [None, None]
    assert door.counted("events_refused") == {"event_too_large": 2}
    traits = {"type": "identify", "userId": "u1", "traits": {"x": "é" * 40_000}}
    assert error_of(door.post(traits, "/v1/identify")) == (413, "event_too_large")


def test_context_of_a_refused_event_is_not_taken_for_sent() -> None:
    door = Door()
    large = track(properties={"x": "y" * MAX_RECORD_BYTES})
    door.post({"batch": [large, track()], "context": {"locale": "en-GB"}}, "/v1/batch")
    assert [record["name"] for _, record in door.kept.records()] == ["Form Submitted", "Context Observed"]


@pytest.mark.parametrize("said", ["1999-12-31T23:59:59Z", "2004-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z"])
def test_event_of_before_anything_happened_is_refused(said: str) -> None:
    door = Door()
    assert error_of(door.post(track(timestamp=said))) == (400, "bad_time")
    assert listed(door.post({"batch": [track(timestamp=said), track()]}, "/v1/batch"), "errors") == [(0, "bad_time")]
    assert door.kept.reasons() == [None]


def test_clock_of_a_client_that_stands_in_1999_is_put_right() -> None:
    door = Door()
    sent = datetime(1999, 12, 31, tzinfo=UTC)
    door.post(track(timestamp=(sent - timedelta(seconds=30)).isoformat(), sentAt=sent.isoformat()))
    assert [record["event_time"] for _, record in door.kept.records()] == [RECEIVED_US - 30_000_000]
    assert door.kept.reasons() == [None]


@pytest.mark.parametrize("said", [RECEIVED_US - DAY_US, EARLIEST_US, RECEIVED_US + MAX_ONBOARDING_AHEAD_US])
@pytest.mark.parametrize("form", [int, float, str, lambda us: f" {us}\n"])
def test_onboarding_in_microseconds_is_taken(said: int, form: Any) -> None:
    assert onboarding(form(said)) == (str(said), [])


def test_onboarding_as_iso_text_is_written_in_microseconds() -> None:
    assert onboarding(iso(RECEIVED_US - DAY_US)) == (str(RECEIVED_US - DAY_US), [])
    assert onboarding("2026-11-22") == ("1795305600000000", [])


@pytest.mark.parametrize(
    "said",
    [
        RECEIVED_US // 1_000_000,
        RECEIVED_US // 1_000,
        str(RECEIVED_US // 1_000),
        RECEIVED_US * 1_000,
        EARLIEST_US - 1,
        RECEIVED_US + MAX_ONBOARDING_AHEAD_US + 1,
        RECEIVED_US + 0.5,
        -RECEIVED_US,
        f"-{RECEIVED_US}",
        "²",
        "١٧٩٥٤٣٥٢٠٠٠٠٠٠٠٠",
        "9" * 5_000,
        "yesterday",
        "",
        "1999-01-01",
        "9999-01-01",
        True,
        [RECEIVED_US],
        {},
    ],
)
def test_onboarding_in_another_form_is_left_out_and_told(said: Any) -> None:
    assert onboarding(said) == (None, ["bad_onboarding_at"])


def test_onboarding_of_null_says_nothing() -> None:
    assert onboarding(None) == (None, [])

"""clean(): what is left of a batch, and what is told of the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from demo_product import CLEANING, EVENTS

from feature_repo.activity import Events, fold
from feature_repo.row import empty_rows, pack_rows, unpack_rows
from firstmile.names import FAMILIES
from pipelines.bounds import UNUSABLE
from pipelines.clean import CleanEvents, clean, clean_profiles, read_mapping, to_events
from pipelines.rules import Rules, read_rules
from pipelines.unknown_names import MAX_NAMES, REST, UnknownNames

T0_US = 1_700_000_000_000_000
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
OTHER_PRODUCT = """
version: 2
families: {click: [cta.tapped], content_open: [lesson.opened]}
fields: {content_id: [asset]}
formats: {clip: video}
"""


def event(**values: Any) -> dict[str, Any]:
    """One row of a decoded batch."""
    defaults = {
        "message_id": "m",
        "user_id": "u1",
        "name": "Page Viewed",
        "event_us": T0_US,
        "received_us": T0_US,
        "weight": 1,
        "user_agent": None,
        "consent": None,
        "is_clamped": False,
        **dict.fromkeys(("content_id", "format", "page", "step"), None),
        "onboarding_us": None,
        "properties": None,
    }
    return {**defaults, **values}


def cleaned(*rows: dict[str, Any], rules: Rules | None = None) -> CleanEvents:
    return clean(pd.DataFrame(rows), read_mapping(EVENTS), read_rules(CLEANING) if rules is None else rules)


def test_who_is_left_out_is_gone_and_counted_by_reason() -> None:
    events = cleaned(
        event(message_id="kept"),
        event(user_agent=BOT),
        event(user_id="ann@example.com"),
        event(properties=[("internal", "true")]),
        event(consent=False),
        event(message_id="kept too", consent=True),
    )
    assert events.frame["message_id"].tolist() == ["kept", "kept too"]
    assert events.counts == {
        "n_dropped_bot": 1,
        "n_dropped_internal": 2,
        "n_dropped_consent": 1,
        "n_clamped": 0,
        "n_unknown": 0,
        "n_unusable_onboarding": 0,
    }
    assert len(to_events(events, np.zeros(2, np.int64)).event_ms) == len(events.family) == 2


def test_a_batch_of_which_nothing_is_left_is_empty() -> None:
    events = cleaned(event(consent=False), event(user_agent=BOT))
    assert len(events.frame) == len(events.family) == 0
    assert events.unknown_names() == {}
    assert len(to_events(events, np.zeros(0, np.int64)).event_ms) == 0


def test_without_rules_robots_and_those_who_said_no_are_left_out() -> None:
    rows = pd.DataFrame([event(user_id="ann@example.com"), event(user_agent=BOT), event(consent=False)])
    assert clean(rows, read_mapping(EVENTS)).frame["user_id"].tolist() == ["ann@example.com"]
    assert clean(rows, read_mapping(EVENTS), read_rules(CLEANING)).frame.empty


def test_a_future_is_clamped_and_flagged_whoever_saw_it() -> None:
    events = cleaned(event(event_us=T0_US + 1), event(is_clamped=True), event(event_us=T0_US - 1), event())
    assert events.frame["is_clamped"].tolist() == [True, True, False, False]
    assert (events.frame["event_us"] <= T0_US).all()
    assert events.counts["n_clamped"] == 2


@pytest.mark.parametrize("flags", [None, [None, True]])
def test_frames_from_before_the_flag_are_read(flags: list[bool | None] | None) -> None:
    frame = pd.DataFrame([event(), event()]).drop(columns=["is_clamped", "user_agent", "consent", "properties"])
    frame = frame if flags is None else frame.assign(is_clamped=flags)
    assert clean(frame, read_mapping(EVENTS)).frame["is_clamped"].tolist() == (
        [False, False] if flags is None else [False, True]
    )


def test_what_is_given_is_left_as_it_was() -> None:
    frame = pd.DataFrame([event(event_us=T0_US + 1, format="clip"), event(format="video")])
    before = frame.copy()
    clean(frame, read_mapping(EVENTS))
    pd.testing.assert_frame_equal(frame, before)


def test_cleaning_again_changes_nothing() -> None:
    once = cleaned(event(event_us=T0_US + 1, format="clip"), event(format="video"), event(name="new"))
    again = clean(once.frame, read_mapping(EVENTS))
    pd.testing.assert_frame_equal(again.frame, once.frame)
    assert again.counts == once.counts


def test_a_start_of_the_onboarding_that_is_no_time_is_left_out_and_counted() -> None:
    events = cleaned(*(event(onboarding_us=us) for us in (T0_US, UNUSABLE, None)))
    assert events.frame["onboarding_us"].fillna(0).tolist() == [T0_US, 0, 0]
    assert events.counts["n_unusable_onboarding"] == 1
    assert to_events(events, np.zeros(3, np.int64)).onboarding_ms.tolist() == [T0_US // 1_000, 0, 0]


def test_a_row_that_was_told_an_impossible_start_takes_a_right_one() -> None:
    def told(us: int) -> Events:
        return to_events(cleaned(event(message_id=str(us), onboarding_us=us)), np.zeros(1, np.int64))

    poisoned, _ = fold(empty_rows(1), told(T0_US // 1_000))
    again = unpack_rows(pack_rows(poisoned))
    assert again.onboarding_ms.tolist() == [0]
    mended, _ = fold(again, told(T0_US))
    assert mended.onboarding_ms.tolist() == [T0_US // 1_000]


def test_a_second_product_brings_its_words_without_code(tmp_path: Path) -> None:
    path = tmp_path / "events.yaml"
    path.write_text(OTHER_PRODUCT)
    rows = [event(name="cta.tapped"), event(name="lesson.opened", format="clip"), event(name="Button Clicked")]
    events = clean(pd.DataFrame(rows), read_mapping(path))
    assert [FAMILIES[c] for c in events.family] == ["click", "content_open", "unknown"]
    assert events.frame["format"][1] == "video"
    assert events.unknown_names() == {"Button Clicked": 1}
    assert events.counts["n_unknown"] == 1


def test_profiles_of_internal_users_are_left_out() -> None:
    frame = pd.DataFrame(
        {
            "user_id": ["u1", "u2", "ann@example.com"],
            "properties": [[("email", "x@y.org")], [("email", "x@example.net")], []],
        }
    )
    assert clean_profiles(frame, read_rules(CLEANING))["user_id"].tolist() == ["u1"]
    assert clean_profiles(frame.iloc[:0], read_rules(CLEANING))["user_id"].tolist() == []
    assert len(clean(pd.DataFrame([event()]).iloc[:0], read_mapping(EVENTS)).frame) == 0


def test_unknown_names_are_told_once_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    unknown = UnknownNames()
    unknown.add({"New Name": 3})
    unknown.add({"New Name": 2})
    assert [record.getMessage().count("'New Name' (3)") for record in caplog.records] == [1]
    unknown.add({f"n{i}": 1 for i in range(2 * MAX_NAMES)})
    assert (len(unknown.counts), unknown.counts["New Name"]) == (MAX_NAMES + 1, 5)
    assert unknown.counts[REST] == MAX_NAMES + 1

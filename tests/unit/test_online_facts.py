"""Records of both topics to facts: what is learned from, what is counted, and what time it is."""

import math

import pytest
from decision_records import NOON_US, decision_record

from firstmile.clock import to_datetime
from firstmile.names import DECISIONS, ENRICHED, SYSTEM_LOGS, USER_ACTIONS
from training.online_facts import take
from training.online_join import Opened
from training.online_state import Batch

FEATURES = ("n_pages", "n_contents")
LATER_US = NOON_US + 3_600_000_000


def event(**changed: object) -> dict[str, object]:
    return {
        "source_topic": USER_ACTIONS,
        "user_id": "u",
        "event_time": to_datetime(NOON_US),
        "received_at": to_datetime(NOON_US + 7),
        "family": "content_open",
        "content_id": "c1",
        **changed,
    }


def taken(record: dict[str, object], topic: str, *, now_us: int = LATER_US) -> Batch:
    batch = Batch()
    take(record, (topic, 1), batch, features=FEATURES, now_us=now_us)
    return batch


def test_a_decision_becomes_what_was_shown_with_its_vector_in_order() -> None:
    record = decision_record(
        request_id="r", user_id="u", features={"n_contents": 2.0, "other": 9.0}, ranking=["a", "b"]
    )
    batch = taken(record, DECISIONS)
    (shown,) = batch.shown
    assert (shown.request_id, shown.user_id, shown.decided_us, shown.ranking) == ("r", "u", NOON_US, ("a", "b"))
    assert math.isnan(shown.vector[0])
    assert shown.vector[1] == 2.0
    assert batch.clocks == {(DECISIONS, 1): NOON_US}
    assert batch.counts == {"n_decisions": 1}


@pytest.mark.parametrize(
    ("changed", "count"),
    [({"features": {}, "rung": "rules"}, "n_without_vector"), ({"ranking": []}, "n_nothing_recommended")],
)
def test_a_decision_nothing_can_be_learned_from_is_counted_and_still_tells_the_time(
    changed: dict[str, object], count: str
) -> None:
    batch = taken({**decision_record(), **changed}, DECISIONS)
    assert batch.shown == []
    assert batch.counts[count] == 1
    assert batch.clocks == {(DECISIONS, 1): NOON_US}


def test_an_open_keeps_when_it_happened_and_when_it_was_received() -> None:
    batch = taken(event(), ENRICHED)
    assert batch.opened == [Opened("u", "c1", NOON_US, NOON_US + 7)]
    assert batch.clocks == {(ENRICHED, 1): NOON_US + 7}


@pytest.mark.parametrize("changed", [{"family": "content_complete"}, {"family": None}, {"content_id": None}])
def test_other_events_only_tell_the_time(changed: dict[str, object]) -> None:
    batch = taken(event(**changed), ENRICHED)
    assert (batch.opened, batch.clocks) == ([], {(ENRICHED, 1): NOON_US + 7})


def test_events_of_other_topics_are_taken_but_tell_no_time() -> None:
    batch = taken(event(source_topic=SYSTEM_LOGS), ENRICHED)
    assert (len(batch.opened), batch.clocks) == (1, {})


def test_no_record_is_believed_to_be_of_the_future() -> None:
    assert taken(event(), ENRICHED, now_us=NOON_US).clocks == {(ENRICHED, 1): NOON_US}
    assert taken(decision_record(), DECISIONS, now_us=5).clocks == {(DECISIONS, 1): 5}


def test_a_record_without_a_field_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="family"):
        taken({"source_topic": USER_ACTIONS, "received_at": to_datetime(0)}, ENRICHED)

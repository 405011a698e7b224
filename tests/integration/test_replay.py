"""Replay through a real Kafka and registry: what is read back is what the tables say."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka_reading import end_offsets, records_since

from examples.oulad.events.events import oulad_events
from examples.oulad.events.records import event_records
from examples.oulad.replay.plan import plan
from examples.oulad.replay.replay import replay
from examples.oulad.tables import tables as oulad
from firstmile.clock import MICROS_PER_S, FixedClock, to_us
from firstmile.errors import DependencyError
from firstmile.names import PROFILES, STREAM_TOPICS
from firstmile.setting_sections import KafkaSettings, RegistrySettings
from firstmile.settings import Settings

DATA = Path(__file__).parents[2] / "data" / "oulad"
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@dataclass
class MovingClock(FixedClock):
    """Moves when waited for."""

    def wait(self, seconds: float) -> None:
        self.now += max(1, round(seconds * MICROS_PER_S))


@pytest.fixture(scope="module")
def tables() -> oulad.OuladTables:
    return oulad.read(DATA, ["AAA_2014J"])


def test_replay_puts_exactly_the_events_on_their_topics(stack: Settings, tables: oulad.OuladTables) -> None:
    before = end_offsets(stack, STREAM_TOPICS)
    spans = plan(["AAA_2014J"], from_day=0, to_day=1, live_on=None)
    result = replay(stack, tables, spans, minutes=None, clock=FixedClock(to_us(NOW)))

    wanted = {r["message_id"]: (t, r) for t, r in event_records(oulad_events(tables, from_day=0, to_day=1))}
    assert len(wanted) > 100
    found = records_since(stack, before)
    assert Counter(topic for topic, _, _ in found) == Counter(result["records"])
    assert len({r["message_id"] for _, _, r in found}) == len(found)
    for topic, key, record in found:
        assert key == record["user_id"]
        if topic == PROFILES:
            assert set(record["traits"]) == {"product", "cohort", "prior_attempts", "studied_credits"}
            continue
        wanted_topic, said = wanted.pop(record["message_id"])
        assert topic == wanted_topic
        assert to_us(record["event_time"]) == said["event_time"]
        assert to_us(record["received_at"]) == said["received_at"]
        assert {n: record[n] for n in ("type", "name", "weight", "properties")} == {
            n: said[n] for n in ("type", "name", "weight", "properties")
        }
    assert not wanted
    assert result["click_events"] == sum(
        r["name"] in ("Page Viewed", "Content Opened") for _, _, r in found if "name" in r
    )


def test_second_replay_repeats_the_message_ids(stack: Settings, tables: oulad.OuladTables) -> None:
    spans = plan(["AAA_2014J"], from_day=5, to_day=5, live_on=None)
    ids = []
    for _ in range(2):
        before = end_offsets(stack, STREAM_TOPICS)
        replay(stack, tables, spans, minutes=None, clock=FixedClock(to_us(NOW)))
        ids.append(sorted(r["message_id"] for _, _, r in records_since(stack, before)))
    assert len(ids[0]) > 100
    assert ids[0] == ids[1]


def test_live_replay_stamps_todays_events_when_sent_and_keeps_their_ids(
    stack: Settings, tables: oulad.OuladTables
) -> None:
    before = end_offsets(stack, STREAM_TOPICS)
    clock = MovingClock(to_us(NOW))
    spans = plan(["AAA_2014J"], from_day=2, to_day=3, live_on=NOW.date())
    result = replay(stack, tables, spans, minutes=5, clock=clock, wait=clock.wait)

    found = {r["message_id"]: r for topic, _, r in records_since(stack, before) if topic != PROFILES}
    midnight = NOW.replace(hour=0)
    today = {i for i, r in found.items() if r["event_time"] >= midnight}
    assert len(today) == result["n_today"] > 100
    assert sorted(found) == sorted(oulad_events(tables, from_day=2, to_day=3)["message_id"].to_pylist())
    assert today == set(oulad_events(tables, from_day=3, to_day=3)["message_id"].to_pylist())
    stamps = sorted(found[i]["event_time"] for i in today)
    assert stamps[0] >= NOW
    assert timedelta(minutes=4, seconds=59) < stamps[-1] - stamps[0] <= timedelta(minutes=5, seconds=1)
    assert all(found[i]["received_at"] == found[i]["event_time"] for i in today)
    assert all(midnight - timedelta(days=1) <= r["event_time"] for r in found.values())


def test_profiles_of_a_live_replay_are_never_known_later_than_now(stack: Settings, tables: oulad.OuladTables) -> None:
    late = tables.registrations["date_registration"].to_pylist()
    to_day = max(d for d in late if d is not None)
    now = NOW.replace(hour=1)  # sign-ups of today come at four
    before = end_offsets(stack, (PROFILES,))
    spans = plan(["AAA_2014J"], from_day=to_day, to_day=to_day, live_on=now.date())
    replay(stack, tables, spans, minutes=0, clock=FixedClock(to_us(now)))
    found = [r for _, _, r in records_since(stack, before)]
    assert len(found) == 365
    assert max(r["updated_at"] for r in found) == max(r["received_at"] for r in found) == now


def test_a_users_records_lie_in_one_partition_number_on_every_topic(stack: Settings, tables: oulad.OuladTables) -> None:
    before = end_offsets(stack, STREAM_TOPICS)
    spans = plan(["AAA_2014J"], from_day=0, to_day=0, live_on=None)
    replay(stack, tables, spans, minutes=None, clock=FixedClock(to_us(NOW)))
    after = end_offsets(stack, STREAM_TOPICS)
    users: dict[int, set[str]] = {}
    for partition in {p for _, p in before}:
        only = {(t, p): o if p == partition else after[t, p] for (t, p), o in before.items()}
        users[partition] = {key for _, key, _ in records_since(stack, only)}
    assert len(users) > 1
    assert len(set.union(*users.values())) == sum(len(u) for u in users.values())


def test_kafka_away_is_one_clear_error(tmp_path: Path, tables: oulad.OuladTables) -> None:
    settings = Settings(home=tmp_path, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1", timeout_s=1))
    spans = plan(["AAA_2014J"], from_day=0, to_day=0, live_on=None)
    with pytest.raises(DependencyError, match=r"Kafka at 127\.0\.0\.1:1 "):
        replay(settings, tables, spans, minutes=None, clock=FixedClock(to_us(NOW)))


def test_registry_away_is_one_clear_error(stack: Settings, tables: oulad.OuladTables) -> None:
    settings = stack.model_copy(update={"registry": RegistrySettings(url="http://127.0.0.1:1", timeout_s=1)})
    spans = plan(["AAA_2014J"], from_day=0, to_day=0, live_on=None)
    with pytest.raises(DependencyError, match=r"registry http://127\.0\.0\.1:1 "):
        replay(settings, tables, spans, minutes=None, clock=FixedClock(to_us(NOW)))


def test_an_empty_range_sends_profiles_alone(stack: Settings, tables: oulad.OuladTables) -> None:
    spans = plan(["AAA_2014J"], from_day=900, to_day=901, live_on=NOW.date())
    result = replay(stack, tables, spans, minutes=1, clock=FixedClock(to_us(NOW)))
    assert result["records"] == {PROFILES: 365}
    assert (result["click_events"], result["click_weight"]) == (0, 0)

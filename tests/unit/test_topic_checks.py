"""The verdict on the topics, from what the broker has and how far the archive is."""

from firstmile.names import DEAD_LETTERS, ENRICHED, REPLAYED, USER_ACTIONS
from firstmile.settings import Settings
from pipelines.archive_lag import ArchiveLag
from pipelines.topic_checks import RealTopic, as_configured, lost, retention
from pipelines.topics import topic_config

SETTINGS = Settings()
HOUR_S = 3_600.0


def real(topic: str, **config: str) -> RealTopic:
    return RealTopic(2, 1, {**topic_config(topic, SETTINGS), "segment.bytes": "1", **config})


def test_topics_as_the_settings_say_are_fine() -> None:
    found = as_configured({t: real(t) for t in (ENRICHED, DEAD_LETTERS, REPLAYED)}, SETTINGS)
    assert (found.is_ok, found.found) == (True, "3 topics are as the settings say")


def test_each_difference_is_named_with_both_values_and_is_no_reason_to_stop() -> None:
    short = real(ENRICHED, **{"retention.ms": "1000"})
    found = as_configured({ENRICHED: short, USER_ACTIONS: RealTopic(3, 1, real(USER_ACTIONS).config)}, SETTINGS)
    assert not found.is_ok
    assert not found.is_essential
    assert f"{ENRICHED} has retention.ms 1000, the settings say 604800000" in found.found
    assert f"{USER_ACTIONS} has partitions 3, the settings say 2" in found.found
    assert "firstmile topics --alter" in found.remedy


def test_retention_well_over_the_archives_lag_is_fine() -> None:
    found = retention({ENRICHED: 168 * HOUR_S, USER_ACTIONS: float("inf")}, [ArchiveLag(0, 5, HOUR_S, 0)], SETTINGS)
    assert found.is_ok
    assert "onboarding.enriched is kept 168 h" in found.found
    assert "3600 s behind (5 events)" in found.found


def test_retention_near_the_archives_lag_is_worth_a_word() -> None:
    found = retention({USER_ACTIONS: 4 * HOUR_S, ENRICHED: 9 * HOUR_S}, [ArchiveLag(0, 5, 3 * HOUR_S, 0)], SETTINGS)
    assert (found.is_ok, found.is_essential) == (False, False)
    assert USER_ACTIONS in found.found
    assert "firstmile archive" in found.remedy


def test_retention_under_the_archives_lag_or_interval_fails() -> None:
    old = retention({ENRICHED: 4 * HOUR_S}, [ArchiveLag(0, 0, 0.0, 0), ArchiveLag(1, 5, 5 * HOUR_S, 0)], SETTINGS)
    assert (old.is_ok, old.is_essential) == (False, True)
    rare = retention({ENRICHED: SETTINGS.stream.archive_interval_s}, [ArchiveLag(0, 0, 0.0, 0)], SETTINGS)
    assert (rare.is_ok, rare.is_essential) == (False, True)


def test_events_deleted_before_they_were_archived_are_counted() -> None:
    assert lost([ArchiveLag(0, 9, 9.0, 0)], SETTINGS) == []
    [found] = lost([ArchiveLag(0, 9, 9.0, 0), ArchiveLag(1, 9, 9.0, 12)], SETTINGS)
    assert not found.is_ok
    assert "12 of onboarding.enriched/1" in found.found
    assert str(SETTINGS.checkpoints) in found.remedy

"""`firstmile features USER` reads the online store; what else is away costs it no more than its own part."""

import uuid

import orjson
import pytest
from online_rows import write_user
from running import run

from feature_repo.online_store import connect
from firstmile.clock import SystemClock
from firstmile.settings import Settings


@pytest.fixture
def user(redis_settings: Settings) -> str:
    name = f"u-{uuid.uuid4()}"
    client = connect(redis_settings.redis_url, timeout_s=5)
    write_user(client, name, now_us=SystemClock().now_us(), opens=[("c1", "video"), ("c2", "document")])
    client.close()
    return name


def with_silent_kafka(settings: Settings) -> Settings:
    """Nothing listens at the address of its Kafka."""
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"timeout_s": 1.0})})


def test_without_kafka_the_row_is_shown_and_the_lag_is_said_to_be_unknown(redis_settings: Settings, user: str) -> None:
    done = run(with_silent_kafka(redis_settings), "features", user)
    assert done.returncode == 0, done.stderr
    shown = orjson.loads(done.stdout)
    assert shown["features"]["content_open_total_count"] == 2
    assert shown["pipeline_lag_ms"] is None
    assert f"lag is not known: Kafka at {redis_settings.kafka_servers}" in done.stderr.replace("\n", " ")


def test_a_user_of_whom_nothing_is_stored_is_named(redis_settings: Settings) -> None:
    done = run(with_silent_kafka(redis_settings), "features", "nobody-17")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is stored of 'nobody-17' online" in done.stderr

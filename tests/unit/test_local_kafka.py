"""How the embedded Kafka is started."""

import uuid
from pathlib import Path

import pytest

from firstmile.local import kafka
from firstmile.local.jars import KAFKA_VERSION
from firstmile.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "cache" / "jars" / f"kafka-{KAFKA_VERSION}").mkdir(parents=True)
    return Settings(home=tmp_path / "a home", cache=tmp_path / "cache")


def test_storage_is_formatted_when_there_is_none_and_only_then(settings: Settings) -> None:
    assert "StorageTool" in kafka.program(settings).command[-1]
    (settings.home / "data" / "kafka" / "log").mkdir(parents=True)
    (settings.home / "data" / "kafka" / "log" / "meta.properties").touch()
    assert "StorageTool" not in kafka.program(settings).command[-1]


def test_a_cluster_id_that_starts_with_a_dash_is_not_read_as_an_option(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xf8" * 16))
    assert "--cluster-id=-" in kafka.program(settings).command[-1]


def test_a_home_with_a_space_stays_one_word(settings: Settings) -> None:
    assert f"'{settings.home}/data/kafka/server.properties'" in kafka.program(settings).command[-1]

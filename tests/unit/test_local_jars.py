"""Names of jars and what is missing; fetching itself is in integration/test_stack_jars.py."""

from pathlib import Path

import pytest

from firstmile.local import jars
from firstmile.settings import Settings


@pytest.mark.parametrize(
    ("file", "artifact"),
    [
        ("xz-1.10.jar", "xz"),
        ("spark-sql-kafka-0-10_2.13-4.1.1.jar", "spark-sql-kafka-0-10_2.13"),
        ("spark-avro_2.13-4.1.1.jar", "spark-avro_2.13"),
        ("kafka-clients-3.9.1.jar", "kafka-clients"),
        ("netty-transport-native-epoll-4.2.7.Final-linux-x86_64.jar", "netty-transport-native-epoll"),
        ("commons-pool-1.5.4.jar", "commons-pool"),
        ("commons-pool2-2.12.1.jar", "commons-pool2"),
    ],
)
def test_artifact_is_the_name_without_its_version(file: str, artifact: str) -> None:
    assert jars.artifact(Path(file)) == artifact


def test_an_empty_cache_misses_every_set_by_version(tmp_path: Path) -> None:
    missing = jars.missing(Settings(cache=tmp_path))
    assert [name.rpartition("-")[0] for name in missing] == ["kafka", "registry", "spark", "local-files"]
    assert all(any(c.isdigit() for c in name) for name in missing)


def test_a_set_in_its_folder_is_not_fetched_again(tmp_path: Path) -> None:
    settings = Settings(cache=tmp_path, local={"java": "/nowhere/java"})
    folder = tmp_path / "jars" / f"kafka-{jars.KAFKA_VERSION}"
    folder.mkdir(parents=True)
    assert jars.kafka_jars(settings) == folder

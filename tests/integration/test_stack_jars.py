"""Fetching jars: what a user sees without a network, and when all is there."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import free_ports

from firstmile.errors import DependencyError
from firstmile.local import ivy, jars
from firstmile.settings import Settings, as_environment


def test_maven_out_of_reach_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/"
    settings = Settings(cache=tmp_path, local={"maven_url": url})
    with pytest.raises(DependencyError, match="FIRSTMILE_LOCAL__MAVEN_URL") as refused:
        jars.spark_jars(settings)
    assert url in str(refused.value)
    assert "refused" in str(refused.value)
    assert [p.name for p in (tmp_path / "jars").iterdir()] == [".lock"]


def test_half_a_download_is_swept_by_the_next(tmp_path: Path) -> None:
    half = tmp_path / "jars" / ".kafka-killed"
    half.mkdir(parents=True)
    settings = Settings(cache=tmp_path, local={"java": "/nowhere/java"})
    with pytest.raises(DependencyError, match="/nowhere/java"):
        jars.kafka_jars(settings)
    assert not half.exists()
    assert [p.name for p in (tmp_path / "jars").iterdir()] == [".lock"]


def test_nothing_is_said_when_all_is_cached(free_settings) -> None:
    settings = free_settings()
    ivy.fetch(settings, jars.all_sets())
    done = subprocess.run(
        [sys.executable, "-m", "firstmile.local.jars"],
        env={"PATH": "/usr/bin:/bin", **as_environment(settings)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout + done.stderr == ""


def test_the_sets_hold_what_their_users_start(free_settings) -> None:
    settings = free_settings()
    names = [jar.name for jar in jars.spark_jars(settings)]
    assert any(n.startswith("spark-sql-kafka-0-10_2.13-") for n in names)
    assert any(n.startswith("spark-avro_2.13-") for n in names)
    assert not any(n.startswith(("hadoop-", "scala-library", "slf4j-")) for n in names), "pyspark has these"
    assert list(jars.kafka_jars(settings).glob("kafka-server-*.jar"))
    assert list(jars.kafka_jars(settings).glob("log4j-slf4j-impl-*.jar")), "without it Kafka logs nothing"
    assert jars.registry_app(settings).is_file()

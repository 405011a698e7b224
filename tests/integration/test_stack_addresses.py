"""Ports that are taken and addresses that are given; the verbs as a shell calls them."""

import json
import os
import socket
import subprocess
import sys
from typing import Any

import psutil
import pytest
import redis
from conftest import FreeSettings, free_ports

from firstmile.errors import ConflictError, DependencyError
from firstmile.local.lag import PROGRESS_KEY, stream_lag
from firstmile.local.stack import Stack
from firstmile.names import USER_ACTIONS
from firstmile.settings import Settings, as_environment


def verb(settings: Settings, *words: str, expect: int = 0) -> tuple[Any, str]:
    """(JSON of stdout, text of stderr) of `firstmile …`."""
    done = subprocess.run(
        [sys.executable, "-c", "from firstmile.cli import main; main()", *words],
        env={**os.environ, **as_environment(settings)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return (json.loads(done.stdout) if done.stdout else None), done.stderr


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_taken_port_is_refused_naming_holder_and_setting(free_settings: FreeSettings) -> None:
    settings = free_settings()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.local.redis_port))
        holder.listen()
        with pytest.raises(ConflictError, match="FIRSTMILE_LOCAL__REDIS_PORT") as refused:
            Stack(settings, with_parent=True).up(["redis"])
        assert f"port {settings.local.redis_port} is held by pid {os.getpid()}" in str(refused.value)
        assert Stack(settings).status(["redis"])[0].pid is None


def test_doctor_names_the_taken_port_and_exits_1(free_settings: FreeSettings) -> None:
    settings = free_settings()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.serving.port))
        holder.listen()
        result, text = verb(settings, "doctor", expect=1)
    assert not result["ok"]
    (failed,) = [c for c in result["checks"] if c["is_essential"] and not c["is_ok"]]
    assert failed["found"].startswith(f"held by pid {os.getpid()}")
    assert "FIRSTMILE_SERVING__PORT" in failed["remedy"]
    assert "FIRSTMILE_SERVING__PORT" in text


def test_doctor_is_content_with_this_machine(free_settings: FreeSettings) -> None:
    result, _ = verb(free_settings(), "doctor")
    assert result["ok"]


def test_a_given_address_replaces_the_embedded_part(free_settings: FreeSettings, redis_settings: Settings) -> None:
    settings = free_settings(redis={"url": redis_settings.redis_url})
    (state,) = Stack(settings, with_parent=True).up(["redis"])
    assert state.is_healthy
    assert not state.is_ours
    assert state.pid is None
    assert not (settings.home / "data" / "redis").exists()
    assert Stack(settings).down() == []
    assert Stack(redis_settings).status(["redis"])[0].is_healthy


def test_a_given_address_where_nobody_answers_is_named(free_settings: FreeSettings) -> None:
    url = f"redis://:secret@127.0.0.1:{free_ports(1)[0]}/0"
    settings = free_settings(redis={"url": url}, local={"start_timeout_s": 1})
    with pytest.raises(DependencyError, match="check its address") as refused:
        Stack(settings, with_parent=True).up(["redis"])
    assert "secret" not in str(refused.value)
    assert "secret" not in Stack(settings).status(["redis"])[0].address


def test_up_from_a_shell_leaves_the_part_running_until_down(free_settings: FreeSettings, stack: Settings) -> None:
    settings = free_settings(
        kafka={"bootstrap_servers": stack.kafka_servers},
        registry={"url": stack.registry_url},
        mlflow={"tracking_uri": stack.mlflow_uri},
    )
    up, said = verb(settings, "up")
    try:
        pid = up["parts"]["redis"]["pid"]
        assert is_running(pid)
        assert str(pid) in said
        assert settings.local.redis_port == int(up["parts"]["redis"]["address"].rpartition(":")[2].split("/")[0])
        now, _ = verb(settings, "status")
        assert now["parts"]["redis"]["is_healthy"]
        assert now["parts"]["kafka"]["is_ours"] is False
        assert now["stream_lag"] == []
    finally:
        down, _ = verb(settings, "down")
    assert down["stopped"] == ["redis"]
    assert not is_running(pid)


def test_lag_is_the_distance_to_the_end_of_the_partition(free_settings: FreeSettings, stack: Settings) -> None:
    settings = free_settings(kafka={"bootstrap_servers": stack.kafka_servers})
    own = Stack(settings, with_parent=True)
    own.up(["redis"])
    try:
        record = {"next_offset": 0, "topic_id": "t", "received_us": 5}
        with redis.Redis.from_url(settings.redis_url) as client:
            client.hset(PROGRESS_KEY, f"{USER_ACTIONS}:0", json.dumps(record))
        (entry,) = stream_lag(settings) or []
        assert (entry.topic, entry.partition, entry.received_us) == (USER_ACTIONS, 0, 5)
        assert entry.n_behind == entry.end_offset >= 0
    finally:
        own.down()
    assert stream_lag(settings) is None

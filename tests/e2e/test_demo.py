"""The demo as a user meets it. Its numbers are asserted here as it proves them; what it kills must be survived."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import FreeSettings
from demo_process import Demo
from pydantic import SecretStr

from examples.oulad.demo.client import Client
from examples.oulad.demo.home import demo_settings
from firstmile.errors import DependencyError
from firstmile.local.process import find
from firstmile.names import EVENT_TOPICS, PROFILES, RUNGS
from firstmile.settings import as_environment
from firstmile.vocabulary import MODELS

pytestmark = pytest.mark.alone

# OULAD's BBB_2013B and AAA_2013J: rows of the click table, and clicks.
CLICK_EVENTS, CLICK_WEIGHT = 584_248, 1_996_405

StartDemo = Callable[..., Demo]


@pytest.fixture
def start_demo(free_settings: FreeSettings) -> Iterator[StartDemo]:
    demos: list[Demo] = []

    def start(*words: str) -> Demo:
        demos.append(Demo(free_settings(), *words))
        return demos[-1]

    yield start
    for demo in demos:
        demo.close()


@pytest.mark.timeout(1200)
def test_check_proves_every_hop_and_leaves_nothing_running(start_demo: StartDemo) -> None:
    demo = start_demo("--check")
    assert demo.wait() == 0, demo.text()
    proof = json.loads(demo.result.read_text())
    hops = proof["hops"]
    assert proof["ok"]
    assert all(hop["ok"] for hop in hops.values())
    assert hops["backfill"]["click_weight"] == CLICK_WEIGHT
    assert hops["backfill"]["click_events"] == CLICK_EVENTS
    assert all(hops["produced"]["in_kafka"][topic] > 0 for topic in (*EVENT_TOPICS, PROFILES))
    assert hops["decoded"]["n_dead_letters"] == 0
    assert hops["decoded"]["n_decoded"] == sum(hops["produced"]["in_kafka"].values())
    assert hops["folded"]["count_and_weight"]
    for learner in hops["folded"]["count_and_weight"].values():
        assert learner["online"] == learner["in_data"]
    assert hops["rows_online"]["n_rows"] >= hops["rows_online"]["n_users"] > 300
    assert set(hops["models"]["champions"]) == set(MODELS)
    assert all(hops["models"]["champions"].values())
    assert set(hops["decided"]["by_rung"]) <= set(RUNGS)
    assert hops["decided"]["by_rung"]["model"] > hops["decided"]["n_asked"] / 2
    assert hops["logged"]["n_logged"] >= hops["decided"]["n_asked"]
    assert hops["archived"]["n_rows"] == hops["archived"]["n_enriched"] > 0
    assert Path(hops["report"]["html"]).stat().st_size > 10_000
    assert hops["report"]["n_decisions"] >= hops["decided"]["by_rung"]["model"]
    assert hops["two_learners"]["features_that_differ"]
    assert hops["two_learners"]["changed"]
    assert hops["same_answer_twice"]["unequal"] == []
    assert hops["becomes_active"]["before"] != hops["becomes_active"]["after"]
    assert demo.left_behind() == []


@pytest.mark.slow  # a demo of its own, three minutes: test_stack_failover and test_stack_runner ask the same of parts
@pytest.mark.timeout(1200)
def test_killed_processes_are_named_and_decisions_go_on(start_demo: StartDemo) -> None:
    demo = start_demo()
    demo.until_said("Firstmile is up")
    demo.until(lambda: re.search(r"standby +ready", demo.text()))
    client = Client(demo_settings(demo.settings))
    learner = client.decide("AAA_2014J-1576513")
    assert learner["rung"] == "model"
    keyed = with_new_key(demo)
    poll_until(lambda: answers(keyed))

    kill(demo, "stream")
    demo.until_said("blind to what happens now", deadline_s=60)
    assert client.decide("AAA_2014J-1576513")["rung"] in RUNGS

    kill(demo, "redis")
    demo.until_said("no row can be read", deadline_s=60)
    answer = client.decide("AAA_2014J-1576513")
    assert answer["rung"] in ("cached", "rules", "default"), answer

    kill(demo, "serve")
    assert client.decide("AAA_2014J-1576513")["rung"] in RUNGS  # at once: the standby
    demo.until_said("the standby answers in its place", deadline_s=60)
    demo.until(lambda: re.search(r"serve +is back", demo.text()), deadline_s=120)
    assert client.decide("AAA_2014J-1576513")["rung"] in RUNGS

    assert demo.interrupt() == 0
    assert demo.left_behind() == []


def test_interrupted_while_it_comes_up_leaves_nothing_running(start_demo: StartDemo) -> None:
    demo = start_demo()
    demo.until_said("redis              ready", deadline_s=120)
    assert demo.left_behind()
    assert demo.interrupt() == 130
    assert demo.left_behind() == []


def test_killed_while_it_comes_up_takes_everything_with_it(start_demo: StartDemo) -> None:
    demo = start_demo()
    demo.until_said("redis              ready", deadline_s=120)
    assert demo.left_behind()
    os.kill(demo.process.pid, signal.SIGKILL)
    demo.wait()
    poll_until(lambda: not demo.left_behind())


def test_a_second_demo_in_the_same_home_is_refused(start_demo: StartDemo) -> None:
    first = start_demo()
    first.until_said("ok      python", deadline_s=60)
    second = Demo(first.settings.model_copy(update={"log_level": "INFO"}), "--check")
    try:
        assert second.wait(60) == 1
        assert "another demo runs in" in second.text()
    finally:
        second.close()


def test_a_taken_port_is_named_before_anything_starts(start_demo: StartDemo, free_settings: FreeSettings) -> None:
    settings = free_settings()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.serving.port))
        holder.listen()
        demo = Demo(settings, "--check")
        try:
            assert demo.wait(60) == 1
        finally:
            demo.close()
    assert f"port {settings.serving.port}: held by pid {os.getpid()}" in demo.text()
    assert "FIRSTMILE_SERVING__PORT" in demo.text()
    assert not (demo.home / "run").exists()


def with_new_key(demo: Demo) -> Client:
    """A client with a key that `firstmile keys new` makes while the demo runs."""
    settings = demo_settings(demo.settings)
    command = [str(Path(sys.executable).with_name("firstmile")), "keys", "new", "--scope", "secret"]
    made = subprocess.run(command, env={**os.environ, **as_environment(settings)}, capture_output=True, check=True)
    serving = settings.serving.model_copy(update={"api_key": SecretStr(json.loads(made.stdout)["key"])})
    return Client(settings.model_copy(update={"serving": serving}))


def answers(client: Client) -> bool:
    try:
        return bool(client.decide("AAA_2014J-1576513"))
    except DependencyError:
        return False


def kill(demo: Demo, name: str) -> None:
    found = find(demo.home / "run", name)
    assert found is not None, f"{name} does not run"
    os.kill(found.pid, signal.SIGKILL)


def poll_until(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)

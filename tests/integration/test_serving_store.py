"""Serving over a real Redis that hangs, dies, is emptied or falls behind; Kafka, registry and MLflow are all away.

Every answer here is one that must come although something is broken: the client waits two seconds, ten times the
budget, so a request that hangs on a dependency fails the test and a slow machine does not.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson
import pytest
import redis
from conftest import settings_on_free_ports
from online_rows import write_progress, write_user
from running import poll
from serving_builder import booster, model

from feature_repo.fields import ACTIVITY
from feature_repo.lag import EndOffsets
from feature_repo.online_store import connect, feature_field, user_key
from feature_repo.reader import OnlineReader
from feature_repo.services import model_features
from firstmile.clock import SystemClock
from firstmile.local.process import find
from firstmile.local.stack import Stack
from firstmile.settings import Settings
from firstmile.vocabulary import MODELS
from serving.api import build_app
from serving.features import instant_us
from serving.models import prepare
from serving.requests import Ask
from serving.wiring import Process, start_process

NOW_US = SystemClock().now_us()
OPENED = [("877037", "lesson"), ("877040", "lesson"), ("877045", "lesson"), ("877030", "document"), ("877051", "guide")]
PROFILE = {"cohort": "AAA_2014J", "product": "AAA", "prior_attempts": 0, "studied_credits": 60}


@dataclass
class Served:
    """A serving process in this one, its Redis, and how to ask it."""

    settings: Settings
    stack: Stack
    client: "redis.Redis"
    process: Process
    ends: EndOffsets
    runner: asyncio.Runner

    def ask(self, user_id: str, **body: Any) -> dict[str, Any]:
        """The answer, which must come."""
        app = build_app()
        app.state.desk = self.process.desk

        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
                key = self.settings.serving.api_key.get_secret_value()
                headers = {"Authorization": f"Bearer {key}"}
                request = http.post("/personalization", json={"user_id": user_id, **body}, headers=headers)
                return await asyncio.wait_for(request, 2)

        response = self.runner.run(call())
        assert response.status_code == 200, response.text
        return dict(response.json())

    def ask_until(
        self, user_id: str, wanted: Callable[[dict[str, Any]], bool], deadline_s: float = 20
    ) -> dict[str, Any]:
        """The first answer that is as wanted."""
        end = time.monotonic() + deadline_s
        while not wanted(answer := self.ask(user_id)):
            assert time.monotonic() < end, answer
            threading.Event().wait(0.05)  # the API has a rate limit
        return answer

    def waiting_with(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """Records of all decisions on disk, the oldest first, as soon as this answer's is there: Kafka is away."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            files = sorted((self.settings.home / "decisions").rglob("*.jsonl"))
            found[:] = [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]
            return any(record["request_id"] == answer["request_id"] for record in found)

        poll(is_there, what="the decision on disk")
        return found

    @property
    def redis_pid(self) -> int:
        """Of the server."""
        found = find(self.stack.run_folder, "redis")
        assert found is not None
        return found.pid


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    serving = {
        "max_lag_ms": 10_000.0,
        "model_wait_s": 0.0,
        "budget_ms": 2_000.0,
        "feature_timeout_ms": 400.0,
        "model_timeout_ms": 1_500.0,
    }
    settings = settings_on_free_ports(tmp_path_factory.mktemp("serving"), serving=serving)
    stack = Stack(settings, with_parent=True)
    stack.up(["redis"])
    process = start_process(settings)
    try:
        process.watch.current = {n: replace(model(n), booster=prepare(_booster(n)), features=_names(n)) for n in MODELS}
        with asyncio.Runner() as runner:
            yield Served(settings, stack, connect(settings.redis_url, timeout_s=5), process, process.ends, runner)
    finally:
        process.close()
        stack.down()


def _names(name: str) -> tuple[str, ...]:
    return tuple(model_features(name))


def _booster(name: str) -> Any:
    return booster(name, _names(name))


@pytest.fixture
def user(served: Served, request: pytest.FixtureRequest) -> str:
    """A learner of AAA_2014J with a row and a healthy progress record, whom nobody has asked about."""
    user_id = f"AAA_2014J-{request.node.name}"
    write_user(served.client, user_id, now_us=NOW_US, opens=OPENED, profile=PROFILE)
    write_progress(served.client, n_partitions=served.settings.kafka.partitions)
    served.ask_until(f"AAA_2014J-{request.node.name}-new", lambda a: a["reasons"] == ["cold_start"])
    return user_id


def test_row_in_the_store_is_answered_by_the_models_about_the_own_course(served: Served, user: str) -> None:
    answer = served.ask(user)
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("model", False, [])
    assert answer["feature_lag_ms"] == 0
    shown = {item["content_id"] for item in answer["recommended_content"]}
    assert len(shown) == 5
    assert not shown & {content for content, _ in OPENED}
    assert all(item["url"].startswith("/courses/AAA_2014J/") for item in answer["recommended_content"])


def test_vector_is_what_the_reader_gives_at_that_instant(served: Served, user: str) -> None:
    deciding = served.process.desk.ladder.decide(Ask(user), started_s=time.perf_counter())
    decision = served.runner.run(deciding)
    values = OnlineReader(served.settings).read(user, instant_us(decision.decided_us))
    assert values is not None
    assert decision.basis.vector == {n: values.values[n] for n in model_features("activation")}


def test_new_event_changes_the_answer_at_once(served: Served, user: str) -> None:
    before = served.ask(user)
    top = before["recommended_content"][0]
    write_user(
        served.client, user, now_us=NOW_US + 1, opens=[*OPENED, (top["content_id"], top["format"])], profile=PROFILE
    )
    after = served.ask(user)
    assert top["content_id"] not in {item["content_id"] for item in after["recommended_content"]}


def test_hung_redis_is_answered_from_the_last_good_assessment_or_rules(served: Served, user: str) -> None:
    known = served.ask(user)
    os.kill(served.redis_pid, signal.SIGSTOP)
    try:
        for _ in range(8):
            again = served.ask(user)
            assert (again["rung"], again["fallback"]) == ("cached", True)
            assert again["reasons"] in (["features_late"], ["features_failed"], ["features_refused"])
            assert again["activation_probability"] == known["activation_probability"]
            assert again["recommended_content"] == known["recommended_content"]
        stranger = served.ask(f"{user}-unasked")
        assert (stranger["rung"], stranger["reasons"]) == ("rules", ["features_refused"])
        assert stranger["recommended_content"]
    finally:
        os.kill(served.redis_pid, signal.SIGCONT)
    assert served.ask_until(user, lambda a: a["rung"] == "model")["reasons"] == []


def test_dead_redis_is_answered_and_its_return_noticed(served: Served, user: str) -> None:
    served.ask(user)
    os.kill(served.redis_pid, signal.SIGKILL)
    served.ask_until(user, lambda a: a["rung"] == "cached" and find(served.stack.run_folder, "redis") is None)
    stranger = served.ask(f"{user}-unasked")
    assert (stranger["rung"], stranger["fallback"]) == ("rules", True)
    assert stranger["reasons"][0].startswith("features_")
    served.stack.up(["redis"])
    answer = served.ask_until(user, lambda a: a["rung"] == "model")
    assert answer["reasons"] == []


def test_emptied_store_is_a_loss_and_not_a_crowd_of_new_users(served: Served, user: str) -> None:
    served.ask(user)
    served.client.flushall()
    asked = served.ask(user)
    unasked = served.ask(f"{user}-unasked")
    assert (asked["rung"], asked["fallback"], asked["reasons"]) == ("cached", True, ["store_loss"])
    assert (unasked["rung"], unasked["fallback"], unasked["reasons"]) == ("rules", True, ["store_loss"])


def test_stream_that_fell_behind_masks_activity(served: Served, user: str) -> None:
    budget_us = int(served.settings.serving.lag_budget_ms * 1_000)
    partitions = range(served.settings.kafka.partitions)
    write_progress(served.client, n_partitions=len(partitions), received_us=NOW_US - 2 * budget_us)
    served.ends.ends = {("onboarding.user-actions", p): 11 for p in partitions}  # one record waits; Kafka is not there
    try:
        answer = served.ask(user)
        assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("rules", True, ["pipeline_lag"])
        assert answer["feature_lag_ms"] > 2 * served.settings.serving.lag_budget_ms
        assert not {i["content_id"] for i in answer["recommended_content"]} & {content for content, _ in OPENED}
    finally:
        served.ends.ends = {}
    assert served.ask(user)["rung"] == "model"


def test_key_of_another_type_is_answered_from_rules(served: Served, user: str) -> None:
    served.client.delete(user_key(user))
    served.client.set(user_key(user), "no hash")
    assert [served.ask(user)["reasons"] for _ in range(8)] == [["row_unreadable"]] * 8


@pytest.mark.parametrize("junk", [b"\x0a\x04junk", b"\xff\xff"], ids=["row", "value"])
def test_damaged_row_is_answered_from_rules_and_others_are_not_touched(served: Served, user: str, junk: bytes) -> None:
    write_user(served.client, f"{user}-2", now_us=NOW_US, opens=OPENED, profile=PROFILE)
    served.client.hset(user_key(user), feature_field(ACTIVITY, "activity"), junk)  # type: ignore[call-overload]
    for _ in range(8):
        answer = served.ask(user)
        assert (answer["rung"], answer["reasons"]) == ("rules", ["row_unreadable"])
    assert served.ask(f"{user}-2")["rung"] == "model"


def test_answers_wait_for_kafka_within_bounds(served: Served, user: str) -> None:
    before = served.waiting_with(served.ask(user))
    after = served.waiting_with(served.ask(user))
    assert [record["sequence"] for record in after] == list(range(len(before) + 1))
    assert served.process.desk.decisions.n_waiting == len(after)

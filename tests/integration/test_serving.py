"""The decision API as a process, with Kafka, registry, Redis and MLflow of its own: answers, log, swaps, outages."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
from conftest import free_ports, settings_on_free_ports
from demo_product import product_with
from kafka_reading import Offsets, end_offsets, records_since
from model_lab import Lab
from online_rows import write_progress, write_user

from feature_repo.online_store import connect
from feature_repo.services import model_features
from firstmile.clock import SystemClock, to_us
from firstmile.errors import DataError
from firstmile.http.key_watch import keys_file
from firstmile.http.keys import user_hash
from firstmile.local.stack import Stack
from firstmile.names import CHALLENGER, DECISIONS, OUTCOMES
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings, as_environment
from firstmile.vocabulary import MODELS
from firstmile.wire import RecordWriter, Registry
from pipelines.topics import ensure_topics
from serving.address import EXPOSURE_ROUTE, PREFIX, ROUTE, base_address
from serving.issue_keys import make_key
from serving.openapi import OPENAPI_ROUTE, openapi
from serving.replay import replay

USER = "AAA_2014J-1"
BIN = Path(sys.executable).parent


@dataclass
class World:
    """A whole stack of this module's own, a learner in its store, and three champions."""

    settings: Settings
    stack: Stack
    lab: Lab


@dataclass
class Api:
    """A running decision API."""

    process: "subprocess.Popen[bytes]"
    settings: Settings
    log: Path

    @property
    def base(self) -> str:
        """Its address."""
        return base_address(self.settings.serving)

    def post(self, user_id: str = USER, **body: Any) -> dict[str, Any]:
        """The answer, which must come."""
        headers = {"Authorization": f"Bearer {self.settings.serving.api_key.get_secret_value()}"}
        response = httpx.post(self.base + PREFIX + ROUTE, json={"user_id": user_id, **body}, headers=headers, timeout=5)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def children(self) -> list[psutil.Process]:
        """Its workers."""
        return psutil.Process(self.process.pid).children(recursive=True)


def until(condition: Callable[[], bool], what: str, deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"within {deadline_s} s: {what}"
        threading.Event().wait(0.05)


@contextlib.contextmanager
def running(settings: Settings, folder: Path, *command: str, ready: str) -> Iterator[Api]:
    """A process that has said `ready` and is ended afterwards."""
    log = folder / f"{command[0]}-{settings.serving.port}.log"
    environment = {**os.environ, **as_environment(settings), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], stdout=out, stderr=out, env=environment, cwd=ROOT
        )
    api = Api(process, settings, log)
    try:
        until(lambda: ready in log.read_text() or process.poll() is not None, f"{ready!r} in the log", 120)
        assert process.poll() is None, log.read_text()
        yield api
    finally:
        left = [process.pid, *(p.pid for p in api.children())] if process.poll() is None else []
        if left:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for pid in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


def on_port(settings: Settings, port: int) -> Settings:
    return settings.model_copy(update={"serving": settings.serving.model_copy(update={"port": port})})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    # Deadlines for a machine that runs everything else too; the ladder's own are tested where they matter.
    serving = {
        "max_lag_ms": 10_000.0,
        "model_poll_s": 0.5,
        "budget_ms": 4_000.0,
        "feature_timeout_ms": 1_500.0,
        "model_timeout_ms": 1_500.0,
    }
    settings = settings_on_free_ports(folder / "home", serving=serving, product=product_with(folder))
    stack = Stack(settings, with_parent=True)
    stack.up()
    try:
        ensure_topics(settings)
        client = connect(settings.redis_url, timeout_s=5)
        now_us = SystemClock().now_us()
        profile = {"cohort": "AAA_2014J", "product": "AAA", "prior_attempts": 0, "studied_credits": 60}
        write_user(client, USER, now_us=now_us, opens=[("877037", "lesson")] * 6, profile=profile)
        # Nothing was produced: the next offset is the end, so nothing waits.
        write_progress(client, n_partitions=settings.kafka.partitions, next_offset=0)
        lab = Lab(settings.mlflow_uri, folder)
        for name in MODELS:
            lab.register(name)
        yield World(settings, stack, lab)
    finally:
        stack.down()


@pytest.fixture(scope="module")
def api(world: World) -> Iterator[Api]:
    with running(world.settings, world.settings.home, "firstmile", "serve", ready="ready: ") as served:
        yield served


def test_ready_line_names_the_address_and_the_address_answers(api: Api) -> None:
    assert f"ready: {api.base}{PREFIX}{ROUTE}" in api.log.read_text()
    answer = api.post(context={"page": "/home"}, limit=3)
    assert (answer["rung"], answer["fallback"], answer["reasons"]) == ("model", False, [])
    assert len(answer["recommended_content"]) == 3
    assert answer["feature_lag_ms"] == 0


def test_same_learner_asked_twice_gets_the_same_answer(api: Api) -> None:
    first, second = api.post(), api.post()
    for answer in (first, second):
        del answer["request_id"], answer["latency_ms"], answer["experiment"]["token"]
    assert first == second


def test_probes_and_metrics_answer_without_a_key(api: Api) -> None:
    api.post()
    assert httpx.get(f"{api.base}/livez").status_code == 200
    assert httpx.get(f"{api.base}/readyz").status_code == 200
    page = httpx.get(f"{api.base}/metrics").text
    counted = re.search(r'firstmile_decisions_total\{fallback="false",rung="model"\} (\S+)', page)
    assert counted
    assert float(counted[1]) >= 1
    assert re.search(r'firstmile_decision_seconds_bucket\{le="0.2",rung="model"\}', page)
    assert re.search(r'firstmile_model_in_use\{model="activation",version="\d+"\} 1.0', page)
    assert "firstmile_decision_log_queue" in page


def test_errors_have_their_form_over_the_wire(api: Api) -> None:
    url = api.base + PREFIX + ROUTE
    assert httpx.post(url, json={"user_id": USER}).status_code == 401
    key = {"Authorization": f"Bearer {api.settings.serving.api_key.get_secret_value()}"}
    for content, status in ((b"{", 400), (b"x" * 20_000, 413)):
        response = httpx.post(url, content=content, headers=key)
        assert response.status_code == status
        assert set(response.json()["error"]) == {"code", "message", "hint"}


def test_key_made_while_it_runs_answers_and_one_taken_away_does_not(api: Api) -> None:
    made = make_key(api.settings, "publishable", name="web")
    proven = {"user_id": USER, "user_hash": user_hash(USER, made["identity_secret"])}

    def ask(body: dict[str, str]) -> int:
        headers = {"Authorization": f"Bearer {made['key']}"}
        return httpx.post(api.base + PREFIX + ROUTE, json=body, headers=headers, timeout=5).status_code

    until(lambda: ask(proven) == 200, "an answer to the new key", 20)
    assert ask({"user_id": USER}) == 403
    assert ask({**proven, "user_id": "AAA_2014J-2"}) == 403
    keys_file(api.settings).write_text("")
    until(lambda: ask(proven) == 401, "the key's end", 20)
    assert "key 'web'" not in api.log.read_text()


def test_openapi_document_is_ours_also_where_bentoml_has_its_own(api: Api) -> None:
    assert httpx.get(f"{api.base}{PREFIX}{OPENAPI_ROUTE}").json() == openapi()
    assert httpx.get(f"{api.base}/docs.json").json() == openapi()
    assert httpx.get(f"{api.base}/").status_code == 200


def test_connections_are_guarded_and_other_paths_answered_in_our_form(api: Api) -> None:
    long = httpx.post(api.base + PREFIX + ROUTE, headers={"X-Long": "x" * 20_000})
    assert (long.status_code, long.json()["error"]["code"]) == (431, "headers_too_large")
    for method, path, status in (("GET", ROUTE, 405), ("GET", "/nothing", 404), ("POST", f"{ROUTE}/", 404)):
        response = httpx.request(method, api.base + PREFIX + path)
        assert response.status_code == status
        assert set(response.json()["error"]) == {"code", "message", "hint"}


def test_decide_prints_one_answer_as_json(api: Api) -> None:
    command = [str(BIN / "firstmile"), "decide", USER, "--page", "/home", "--limit", "2", "--explain"]
    done = subprocess.run(command, env={**os.environ, **as_environment(api.settings)}, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = orjson.loads(done.stdout)
    assert (answer["user_id"], len(answer["recommended_content"])) == (USER, 2)
    assert answer["explanation"]["moved"]


def test_decide_without_an_api_says_what_to_start(world: World) -> None:
    nowhere = on_port(world.settings, free_ports(1)[0])
    command = [str(BIN / "firstmile"), "decide", USER]
    done = subprocess.run(command, env={**os.environ, **as_environment(nowhere)}, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "firstmile serve" in done.stderr.decode()


def test_serve_on_a_taken_port_says_so_at_once(api: Api) -> None:
    environment = {**os.environ, **as_environment(api.settings)}
    done = subprocess.run([str(BIN / "firstmile"), "serve"], env=environment, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert "FIRSTMILE_SERVING__PORT" in done.stderr.decode()


def test_every_decision_is_in_kafka_numbered_and_with_its_vector(api: Api, world: World) -> None:
    since = end_offsets(world.settings, (DECISIONS,))
    asked = {(a := api.post())["request_id"]: a for _ in range(5)}
    records: list[dict[str, Any]] = []

    def arrived() -> bool:
        records[:] = [r for _, _, r in records_since(world.settings, since)]
        return len(records) >= 5

    until(arrived, "five decisions in Kafka")
    assert {r["request_id"] for r in records} == set(asked)
    assert len({r["worker"] for r in records}) == 1
    numbers = sorted(r["sequence"] for r in records)
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    record = records[0]
    answer = asked[record["request_id"]]
    assert (record["user_id"], record["rung"], record["arm"]) == (USER, "model", "champion")
    assert set(record["features"]) == set(model_features("activation"))
    assert record["features"]["content_open_total_count"] == 6
    assert len(serialized(record, world.settings)) < 4_096
    assert record["ranking"] == [item["content_id"] for item in answer["recommended_content"]]
    assert record["predictions"]["activation"] == pytest.approx(answer["activation_probability"], abs=1e-4)
    assert abs(to_us(record["decided_at"]) - SystemClock().now_us()) < 120_000_000


def test_a_logged_decision_is_made_again_with_the_models_of_this_machine_or_of_mlflow(
    api: Api, world: World, tmp_path: Path
) -> None:
    since = end_offsets(world.settings, (DECISIONS,))
    answer = api.post(context={"page": "/welcome"}, limit=7)
    until(lambda: len(records_since(world.settings, since)) == 1, "the decision in Kafka")
    command = [str(BIN / "firstmile"), "decide", "--replay", answer["request_id"]]
    done = subprocess.run(
        command, env={**os.environ, **as_environment(world.settings)}, capture_output=True, timeout=60
    )
    here = orjson.loads(done.stdout)
    assert (done.returncode, here["same"], here["differs"]) == (0, True, {}), done.stderr
    assert here["versions"]["rules"]["was"] == here["versions"]["rules"]["now"]
    there = replay(world.settings.model_copy(update={"home": tmp_path / "home"}), answer["request_id"])
    assert (there["same"], there["differs"]) == (True, {})
    for found, source in ((here, "copy"), (there, "mlflow")):
        assert {m["from"] for m in found["models"].values()} == {source}
    with pytest.raises(DataError, match="has the request_id nobody"):
        replay(world.settings, "nobody")


def test_explanation_is_given_to_who_asks(api: Api) -> None:
    found = api.post(explain=True)["explanation"]
    assert set(found) == {"moved"}
    named = [{m["feature"] for m in moved} for moved in found["moved"].values()]
    assert len(named) == 2
    assert all(set() < names <= set(model_features("activation")) for names in named)


def serialized(record: dict[str, Any], settings: Settings) -> bytes:
    return RecordWriter(Registry(settings.registry_url), DECISIONS).encode(record)


def test_moved_champion_answers_within_seconds_and_no_request_fails(api: Api, world: World) -> None:
    version = world.lab.register("activation", seed=7)
    seen = []
    until(lambda: seen.append(api.post()) or seen[-1]["models"]["activation"] == version, "the new version", 30)
    assert {a["rung"] for a in seen} == {"model"}


def test_arm_of_a_changed_file_answers_within_seconds_is_shadowed_and_its_exposure_is_in_kafka(
    api: Api, world: World
) -> None:
    file = world.settings.product_file("experiments")
    before, champion = file.read_text(), api.post()["models"]["activation"]
    version = world.lab.register("activation", seed=11)
    world.lab.promote("activation", version, CHALLENGER)
    world.lab.promote("activation", champion)
    since = end_offsets(world.settings, (DECISIONS, OUTCOMES))
    try:
        shown = in_experiment(api, file, "    arms: [{name: new, kind: challenger, share: 1}]\n", activation=version)
        shadowed = in_experiment(
            api,
            file,
            "    shadow: challenger\n    arms: [{name: old, kind: champion, share: 1}]\n",
            activation=champion,
        )
    finally:
        replace_text(file, before)
    until(lambda: api.post()["experiment"]["name"] == "onboarding-v1", "the file as it was")
    headers = {"Authorization": f"Bearer {world.settings.serving.api_key.get_secret_value()}"}
    body = {"request_id": shown["request_id"], "user_id": USER, "token": shown["experiment"]["token"]}
    for _ in range(2):
        assert httpx.post(api.base + PREFIX + EXPOSURE_ROUTE, json=body, headers=headers).status_code == 202
    found: dict[str, list[dict[str, Any]]] = {DECISIONS: [], OUTCOMES: []}

    def arrived() -> bool:
        for topic, records in found.items():
            records[:] = [r for t, _, r in records_since(world.settings, since) if t == topic]
        logged = {r["request_id"] for r in found[DECISIONS]}
        return bool(found[OUTCOMES]) and {shown["request_id"], shadowed["request_id"]} <= logged

    until(arrived, "both decisions and the exposure in Kafka")
    (outcome,) = found[OUTCOMES]
    assert (outcome["request_id"], outcome["user_id"], outcome["kind"]) == (shown["request_id"], USER, "shown")
    by_id = {r["request_id"]: r for r in found[DECISIONS]}
    record = by_id[shown["request_id"]]
    assert (record["arm"], record["propensity"], record["shadow_models"]) == ("new", 1.0, {})
    assert by_id[shadowed["request_id"]]["shadow_models"] == {"activation": version}
    page = httpx.get(f"{api.base}/metrics").text
    assert re.search(r'firstmile_exposures_total\{arm="new",experiment="live-\w+"\} 1.0', page)
    assert re.search(r'firstmile_policy_file_ok\{file="experiments"\} 1.0', page)


def in_experiment(api: Api, file: Path, arms: str, **models: str) -> dict[str, Any]:
    """An answer in an experiment of these arms that has just come into force, by these versions."""
    name = f"live-{uuid.uuid4().hex[:8]}"
    replace_text(file, f"experiments:\n  - name: {name}\n{arms}")
    seen: list[dict[str, Any]] = []

    def is_there() -> bool:
        seen.append(api.post())
        return seen[-1]["experiment"]["name"] == name and models.items() <= seen[-1]["models"].items()

    until(is_there, f"an answer of {name} by {models}", 30)
    assert {a["rung"] for a in seen} == {"model"}
    return seen[-1]


def replace_text(file: Path, text: str) -> None:
    """As an editor does it: the file is the old one or the new one, never half of one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def test_outage_of_kafka_costs_no_answer_and_no_decision(api: Api, world: World) -> None:
    since = end_offsets(world.settings, (DECISIONS,))
    asked = {api.post()["request_id"] for _ in range(2)}
    world.stack.down(["kafka"])
    asked |= {(a := api.post())["request_id"] for _ in range(5)}
    assert a["rung"] == "model"
    world.stack.up(["kafka"])
    asked |= {api.post()["request_id"] for _ in range(2)}
    found: list[str] = []

    def arrived() -> bool:
        found[:] = [r["request_id"] for _, _, r in records_since(world.settings, since)]
        return len(found) >= len(asked)

    until(arrived, "all decisions in Kafka")
    assert sorted(found) == sorted(asked)


def test_start_without_mlflow_and_registry_answers_with_the_copies_and_hands_on_the_log_at_sigterm(
    api: Api, world: World
) -> None:
    before = end_offsets(world.settings, (DECISIONS,))
    warm = api.post()["request_id"]
    until(lambda: warm in logged_since(world, before), "the warm worker's decision in Kafka")
    settings = on_port(world.settings, free_ports(1)[0])
    since = end_offsets(world.settings, (DECISIONS,))
    world.stack.down(["mlflow", "registry"])
    try:
        with running(settings, settings.home, "firstmile", "serve", ready="ready: ") as cold:
            answers = [cold.post()]
            assert (answers[0]["rung"], answers[0]["fallback"]) == ("model", False)
            world.stack.up(["registry"])
            until(lambda: len(logged_since(world, since)) == 1, "the decision in Kafka")
            answers.append(cold.post())
            workers = cold.children()
            assert workers
            cold.process.terminate()
            assert cold.process.wait(30) == 0
            assert not any(is_running(p) for p in workers)
        assert logged_since(world, since) == {a["request_id"] for a in answers}
        assert "Traceback" not in cold.log.read_text()
    finally:
        world.stack.up()


def test_bentoml_serve_as_typed_answers_and_leaves_nothing_when_killed(world: World) -> None:
    settings = on_port(world.settings, free_ports(1)[0])
    command = ("bentoml", "serve", "serving.service:Personalization")
    with running(settings, settings.home, *command, ready="Service Personalization initialized") as typed:
        until(lambda: is_up(typed), "an answer to /readyz")
        assert typed.post()["rung"] == "model"
        workers = typed.children()
        assert workers
        os.kill(typed.process.pid, signal.SIGKILL)
        until(lambda: not any(is_running(p) for p in workers), "the workers' end", 30)


def logged_since(world: World, since: Offsets) -> set[str]:
    """Request ids of the decisions in Kafka since then."""
    return {record["request_id"] for _, _, record in records_since(world.settings, since)}


def is_up(api: Api) -> bool:
    try:
        return httpx.get(f"{api.base}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

"""The collector as a process before a real Kafka and registry: what is posted is read back, and only then answered."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import free_ports
from kafka_reading import end_offsets, records_since
from prometheus_client.parser import text_string_to_metric_families

from firstmile.local.stack import Stack
from firstmile.names import CONTEXT, PROFILES, STREAM_TOPICS, SYSTEM_LOGS, USER_ACTIONS
from firstmile.setting_sections import CollectorSettings, KafkaSettings
from firstmile.settings import Settings, as_environment
from serving.issue_keys import make_key

KEY = "test-write-key"


class Process:
    """`firstmile collect` running on settings."""

    def __init__(self, settings: Settings) -> None:
        command = [sys.executable, "-c", "from firstmile.cli import main; main()", "collect"]
        environment = {**os.environ, **as_environment(settings)}
        self.child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = f"http://127.0.0.1:{settings.collector.port}"
        poll(lambda: any(line.startswith("ready: ") for line in self.lines) or self.child.poll() is not None, 60)
        assert self.child.poll() is None, self.lines

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.child.send_signal(how)
        code = self.child.wait(30)
        self._reader.join(5)
        return code

    def _read(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append(line.rstrip("\n"))


def poll(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "deadline passed"
        threading.Event().wait(0.02)


@contextmanager
def collecting(settings: Settings) -> Iterator[Process]:
    process = Process(settings)
    try:
        yield process
    finally:
        if process.child.poll() is None:
            process.child.kill()
            process.child.wait()


def on_a_free_port(settings: Settings, **limits: Any) -> Settings:
    collector = CollectorSettings(port=free_ports(1)[0], write_key=KEY, **limits)
    return settings.model_copy(update={"collector": collector})


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Settings:
    return on_a_free_port(stack, max_body_bytes=20_000, max_batch_events=50)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[httpx.Client]:
    with collecting(settings) as process, httpx.Client(base_url=process.url, auth=(KEY, ""), timeout=30) as client:
        yield client


@pytest.fixture
def user() -> str:
    return f"u-{uuid.uuid4()}"


def error_of(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    return response.status_code, error["code"]


def test_batch_is_in_kafka_when_it_is_answered(client: httpx.Client, settings: Settings, user: str) -> None:
    before = end_offsets(settings, STREAM_TOPICS)
    ids = [str(uuid.uuid4()) for _ in range(4)]
    calls = [
        {"type": "identify", "traits": {"plan": "pro"}},
        {"type": "page", "properties": {"path": "/welcome"}, "context": {"locale": "en-GB"}},
        {"type": "track", "event": "Form Submitted", "properties": {"step": "profile", "n": 2}},
        {"type": "log", "event": "Server Error", "properties": {"status": 500}},
    ]
    batch = [{**call, "userId": user, "messageId": i} for call, i in zip(calls, ids, strict=True)]
    response = client.post("/v1/batch", json={"batch": batch, "sentAt": datetime.now(UTC).isoformat()})
    assert (response.status_code, response.json()) == (200, {"accepted": 4, "message_ids": ids})

    found = records_since(settings, before)
    assert {key for _, key, _ in found} == {user}
    by_id = {record["message_id"]: (topic, record) for topic, _, record in found}
    assert len(by_id) == len(found) == 6
    assert {i: topic for i, (topic, _) in by_id.items()} == {
        ids[0]: USER_ACTIONS,
        f"{ids[0]}:profile": PROFILES,
        ids[1]: USER_ACTIONS,
        f"{ids[1]}:context": CONTEXT,
        ids[2]: USER_ACTIONS,
        ids[3]: SYSTEM_LOGS,
    }
    assert by_id[f"{ids[0]}:profile"][1]["traits"] == {"plan": "pro"}
    assert by_id[ids[1]][1]["name"] == "Page Viewed"
    assert by_id[ids[1]][1]["properties"] == {"path": "/welcome", "page": "/welcome"}
    assert by_id[ids[2]][1]["properties"] == {"step": "profile", "n": "2"}
    assert by_id[f"{ids[1]}:context"][1]["properties"] == {"locale": "en-GB"}
    for _, record in by_id.values():
        assert datetime.now(UTC) - record["received_at"] < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/track", {"event": "Step Completed"}, "Step Completed"),
        ("/v1/page", {"properties": {"path": "/"}}, "Page Viewed"),
        ("/v1/identify", {"traits": {"role": "admin"}}, "identify"),
    ],
)
def test_single_calls_are_taken(
    client: httpx.Client, settings: Settings, user: str, path: str, body: dict[str, Any], name: str
) -> None:
    before = end_offsets(settings, (USER_ACTIONS,))
    response = client.post(path, json={"userId": user, **body})
    assert response.status_code == 200
    ((_, key, record),) = records_since(settings, before)
    assert response.json() == {"accepted": 1, "message_ids": [record["message_id"]]}
    assert (key, record["name"]) == (user, name)
    assert str(uuid.UUID(record["message_id"])) == record["message_id"]


def test_event_time_is_by_our_clock(client: httpx.Client, settings: Settings, user: str) -> None:
    before = end_offsets(settings, (USER_ACTIONS,))
    wrong = datetime.now(UTC) + timedelta(days=400)
    times = {"timestamp": (wrong - timedelta(seconds=30)).isoformat(), "sentAt": wrong.isoformat()}
    assert client.post("/v1/track", json={"userId": user, "event": "Button Clicked", **times}).status_code == 200
    ((_, _, record),) = records_since(settings, before)
    assert record["received_at"] - record["event_time"] - timedelta(seconds=30) < timedelta(seconds=5)
    assert abs(record["sent_at"] - wrong) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Authorization": f"Bearer {KEY}"}, {}),
        ({"Authorization": "Basic " + "dGVzdC13cml0ZS1rZXk6"}, {}),
        ({}, {"writeKey": KEY}),
    ],
)
def test_write_key_is_taken_in_each_of_its_places(
    client: httpx.Client, user: str, headers: dict[str, str], body: dict[str, Any]
) -> None:
    call = {"userId": user, "event": "Button Clicked", **body}
    assert httpx.post(f"{client.base_url}/v1/track", json=call, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, {}),
        ({"Authorization": "Bearer wrong"}, {"writeKey": KEY}),
        ({"Authorization": "Basic !!"}, {}),
        ({"Authorization": KEY}, {}),
        ({}, {"writeKey": "ключ"}),
        ({}, {"writeKey": 7}),
    ],
)
def test_without_the_write_key_nothing_is_taken(
    client: httpx.Client, settings: Settings, user: str, headers: dict[str, str], body: dict[str, Any]
) -> None:
    before = end_offsets(settings, STREAM_TOPICS)
    call = {"userId": user, "event": "Button Clicked", **body}
    response = httpx.post(f"{client.base_url}/v1/track", json=call, headers=headers)
    assert error_of(response) == (401, "bad_write_key")
    assert end_offsets(settings, STREAM_TOPICS) == before


def test_malformed_requests_are_refused_in_one_form(client: httpx.Client, user: str) -> None:
    good = {"type": "track", "userId": user, "event": "Button Clicked"}
    assert error_of(client.post("/v1/batch", content=b"{")) == (400, "bad_json")
    assert error_of(client.post("/v1/batch", content=b"\xff\xfe")) == (400, "bad_json")
    assert error_of(client.post("/v1/batch", content=b"[]")) == (400, "bad_json")
    assert client.post("/v1/batch", json={"batch": []}).json() == {"accepted": 0, "message_ids": []}
    assert error_of(client.post("/v1/batch", json={"batch": good})) == (400, "bad_batch")
    assert error_of(client.post("/v1/batch", json={"batch": [good], "context": 1})) == (400, "bad_context")
    assert error_of(client.post("/v1/batch", json={"batch": [good] * 51})) == (413, "too_many_events")
    assert error_of(client.post("/v1/track", json={**good, "x": "x" * 20_000})) == (413, "body_too_large")
    chunks = (b"x" * 1_000 for _ in range(30))  # no Content-Length
    assert error_of(client.post("/v1/track", content=chunks)) == (413, "body_too_large")
    assert error_of(client.post("/v1/track", json={"event": "x"})) == (400, "missing_id")
    assert error_of(client.get("/v1/track")) == (405, "no_such_call")
    assert error_of(client.post("/v2/track")) == (404, "no_such_call")


def test_audit_attributes_never_reach_a_profile(client: httpx.Client, settings: Settings, user: str) -> None:
    before = end_offsets(settings, STREAM_TOPICS)
    response = client.post("/v1/identify", json={"userId": user, "traits": {"plan": "pro", "Gender": "F"}})
    assert (response.status_code, response.json()["notes"][0]["code"]) == (200, "audit_attribute")
    (profile,) = (record for topic, _, record in records_since(settings, before) if topic == PROFILES)
    assert profile["traits"] == {"plan": "pro"}


def test_one_bad_event_of_a_batch_refuses_nothing_else(client: httpx.Client, settings: Settings, user: str) -> None:
    before = end_offsets(settings, STREAM_TOPICS)
    good = {"type": "track", "userId": user, "event": "Button Clicked"}
    response = client.post("/v1/batch", json={"batch": [good, {"type": "track"}, good, 3]})
    assert response.status_code == 200
    assert response.json()["accepted"] == 2
    assert [(e["index"], e["code"]) for e in response.json()["errors"]] == [(1, "missing_id"), (3, "bad_event")]
    assert {r["message_id"] for _, _, r in records_since(settings, before)} == set(response.json()["message_ids"])


def test_batch_without_a_good_event_is_refused_with_every_reason(client: httpx.Client, user: str) -> None:
    response = client.post("/v1/batch", json={"batch": [{"type": "track", "userId": user}, {"type": "x"}]})
    assert error_of(response) == (400, "bad_event_name")
    assert [e["index"] for e in response.json()["errors"]] == [0, 1]


def test_browsers_of_any_origin_may_post(client: httpx.Client) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/batch", headers={**asked, "Access-Control-Request-Headers": "authorization"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_connections_are_within_the_bounds_of_the_decision_api(client: httpx.Client, user: str) -> None:
    call = {"userId": user, "event": "Button Clicked"}
    assert error_of(client.post("/v1/track", json=call, headers={"X-Long": "x" * 20_000})) == (431, "headers_too_large")
    assert error_of(client.post("/v1/track?x=" + "x" * 5_000, json=call)) == (414, "address_too_long")


def test_body_that_does_not_arrive_is_given_up(stack: Settings) -> None:
    settings = on_a_free_port(stack, body_timeout_ms=200)
    head = f"POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 9\r\n\r\n{{"
    with collecting(settings), socket.create_connection(("127.0.0.1", settings.collector.port), timeout=10) as slow:
        slow.sendall(head.encode())
        answer = b"".join(iter(lambda: slow.recv(65_536), b""))  # until the connection is closed
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"body_too_slow"' in answer


def test_keys_of_the_file_are_valid_and_followed_and_a_demo_key_for_everybody_is_warned_of(
    stack: Settings, tmp_path: Path, user: str
) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text("")
    serving = stack.serving.model_copy(update={"keys": str(keys)})
    collector = CollectorSettings(port=free_ports(1)[0], host="0.0.0.0")
    settings = stack.model_copy(update={"serving": serving, "collector": collector})
    with collecting(settings) as process:
        told = " ".join(process.lines)
        assert "(demo-write-key) is valid on 0.0.0.0; set FIRSTMILE_COLLECTOR__WRITE_KEY" in told
        key = make_key(settings, "publishable")["key"]
        call = {"userId": user, "event": "Button Clicked"}
        page = {"Origin": "https://app.example", "Authorization": f"Bearer {key}"}
        poll(lambda: httpx.post(f"{process.url}/v1/track", json=call, headers=page).status_code == 200)


def test_probes_answer(client: httpx.Client) -> None:
    assert client.get("/livez").json() == client.get("/readyz").json() == {"status": "ok"}


def test_many_clients_at_once_lose_nothing(client: httpx.Client, settings: Settings, user: str) -> None:
    before = end_offsets(settings, (USER_ACTIONS,))
    batch = {"batch": [{"type": "track", "userId": user, "event": "Button Clicked"}] * 10}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/batch", json=batch), range(40)))
    ids = [i for answer in answers for i in answer.json()["message_ids"]]
    assert len(set(ids)) == 400
    assert sorted(r["message_id"] for _, _, r in records_since(settings, before)) == sorted(ids)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_clean(stack: Settings, how: signal.Signals) -> None:
    with collecting(on_a_free_port(stack)) as process:
        assert process.stop(how) == 0
    assert not [line for line in process.lines if "Traceback" in line]


def test_taken_port_is_one_clear_line(client: httpx.Client, settings: Settings) -> None:
    command = [sys.executable, "-c", "from firstmile.cli import main; main()", "collect"]
    environment = {**os.environ, **as_environment(settings)}
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{settings.collector.port}" in " ".join(second.stderr.split())
    assert "Traceback" not in second.stderr


@pytest.fixture
def own_kafka(tmp_path_factory: pytest.TempPathFactory, stack: Settings) -> Iterator[tuple[Settings, int]]:
    """A Kafka that may be hurt, with the shared registry: (settings, its pid)."""
    ports = free_ports(2)
    local = stack.local.model_copy(update={"kafka_port": ports[0], "kafka_controller_port": ports[1]})
    kafka = KafkaSettings(timeout_s=5)  # a loaded machine answers late
    registry = stack.registry.model_copy(update={"url": stack.registry_url})
    home = tmp_path_factory.mktemp("kafka")
    settings = on_a_free_port(
        stack.model_copy(update={"home": home, "local": local, "kafka": kafka, "registry": registry})
    )
    own = Stack(settings, with_parent=True)
    (state,) = own.up(["kafka"])
    assert state.pid is not None
    yield settings, state.pid
    own.down(["kafka"])


def test_silent_kafka_delays_the_answer_until_it_has_the_event(own_kafka: tuple[Settings, int], user: str) -> None:
    settings, pid = own_kafka
    call = {"userId": user, "event": "Button Clicked"}
    with collecting(settings) as process, ThreadPoolExecutor(1) as pool:
        client = httpx.Client(base_url=process.url, auth=(KEY, ""), timeout=30)
        assert client.post("/v1/track", json=call).status_code == 200
        before = end_offsets(settings, (USER_ACTIONS,))
        os.kill(pid, signal.SIGSTOP)
        try:
            posted = pool.submit(client.post, "/v1/track", json=call)
            # Kafka is stopped: half a second without an answer, while the event loop still answers others.
            poll(lambda: httpx.get(f"{process.url}/livez").status_code == 200)
            with pytest.raises(TimeoutError):
                posted.result(timeout=0.5)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert posted.result(timeout=20).status_code == 200
        assert [r["message_id"] for _, _, r in records_since(settings, before)] == posted.result().json()["message_ids"]


def test_dead_kafka_is_503_and_one_that_comes_back_is_used_again(own_kafka: tuple[Settings, int], user: str) -> None:
    settings, pid = own_kafka
    call = {"userId": user, "event": "Button Clicked"}
    with collecting(settings) as process:
        client = httpx.Client(base_url=process.url, auth=(KEY, ""), timeout=30)
        os.kill(pid, signal.SIGKILL)
        response = client.post("/v1/track", json=call)
        assert error_of(response) == (503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        Stack(settings, with_parent=True).up(["kafka"])
        poll(lambda: client.get("/readyz").status_code == 200, 30)
        before = end_offsets(settings, (USER_ACTIONS,))
        poll(lambda: client.post("/v1/track", json={**call, "messageId": user}).status_code == 200, 30)
        assert user in {r["message_id"] for _, _, r in records_since(settings, before)}
        assert process.stop() == 0


def test_stop_answers_the_requests_under_way(own_kafka: tuple[Settings, int], user: str) -> None:
    settings, pid = own_kafka
    with collecting(settings) as process, ThreadPoolExecutor(1) as pool:
        client = httpx.Client(base_url=process.url, auth=(KEY, ""), timeout=30)
        call = {"userId": user, "event": "Button Clicked"}
        assert client.post("/v1/track", json=call).status_code == 200
        before = end_offsets(settings, (USER_ACTIONS,))
        os.kill(pid, signal.SIGSTOP)
        try:
            posted = pool.submit(client.post, "/v1/track", json=call)
            with pytest.raises(TimeoutError):
                posted.result(timeout=0.3)
            process.child.send_signal(signal.SIGTERM)
            poll(lambda: not accepts(process.url))
        finally:
            os.kill(pid, signal.SIGCONT)
        assert posted.result(timeout=20).status_code == 200
        assert process.child.wait(20) == 0
        assert len(records_since(settings, before)) == 1


def accepts(url: str) -> bool:
    try:
        httpx.get(f"{url}/livez", timeout=1)
    except httpx.TransportError:
        return False
    return True


def test_kafka_away_at_the_start_is_one_clear_line(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1", timeout_s=1))
    command = [sys.executable, "-c", "from firstmile.cli import main; main()", "collect"]
    environment = {**os.environ, **as_environment(on_a_free_port(settings))}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1
    assert "DependencyError: Kafka at 127.0.0.1:1" in found.stderr
    assert "Traceback" not in found.stderr


def test_metrics_count_what_was_taken_and_refused(settings: Settings, client: httpx.Client, user: str) -> None:
    def counted() -> dict[str, float]:
        text = client.get("/metrics").raise_for_status().text
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return {s.name + "".join(f" {v}" for v in s.labels.values()): s.value for s in samples}

    before = counted()
    good = {"type": "track", "event": "Page Viewed", "userId": user}
    answer = client.post("/v1/batch", json={"batch": [good, good, {**good, "type": "dance"}]})
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert client.post("/v1/track", json={"event": "Page Viewed"}).status_code == 400
    assert httpx.post(f"{client.base_url}/v1/track", json=good).status_code == 401
    after = counted()
    added = {name: n - before.get(name, 0.0) for name, n in after.items() if n != before.get(name, 0.0)}
    assert added["firstmile_collector_events_total"] == 2
    assert added["firstmile_collector_events_refused_total unknown_type"] == 1
    assert added["firstmile_collector_requests_refused_total bad_write_key"] == 1
    assert sum(n for name, n in added.items() if name.startswith("firstmile_collector_requests_refused_total")) == 2
    assert added["firstmile_collector_kafka_seconds_count"] == 1
    assert added["firstmile_collector_kafka_seconds_sum"] > 0

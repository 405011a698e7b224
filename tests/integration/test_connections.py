"""The decision API behind real sockets, as an attacker sees it: heads and bodies without end, slow, or ambiguous."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson
import pytest
import uvicorn
from desk_builder import make_desk
from running import poll

from firstmile.http.connections import MAX_ADDRESS_BYTES, MAX_HEAD_BYTES, GuardedProtocol
from firstmile.setting_sections import ServingSettings
from serving.api import Desk, build_app

SETTINGS = ServingSettings(body_timeout_ms=300, max_body_bytes=2_000)
HEAD = b"POST /personalization HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-api-key\r\n"
BODY = b'{"user_id": "u1", "limit": 1}'
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
Ask = Callable[..., bytes]


class Impatient(GuardedProtocol):
    """As in production, but nobody here waits for ten seconds."""

    request_timeout_s = 0.6
    keep_alive_s = 1
    max_connections = 40


@dataclass
class Api:
    """A server in this process."""

    server: uvicorn.Server
    desk: Desk
    address: tuple[str, int]

    @property
    def n_connections(self) -> int:
        """Open now."""
        return len(self.server.server_state.connections)

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(self.address, timeout=10)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    app = build_app()
    app.state.desk = desk = make_desk(SETTINGS)
    config = uvicorn.Config(app, http=Impatient, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # answers nobody takes are soon too many
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    poll(lambda: server.started, what="the server")
    yield Api(server, desk, listening.getsockname())
    server.should_exit = True
    thread.join(10)


def read(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65_536):
            found += chunk
    return found


def said(api: Api, *parts: bytes) -> bytes:
    """What is answered to bytes sent at once, the connection left open by us."""
    with api.connect() as connection:
        for part in parts:
            with contextlib.suppress(ConnectionError):
                connection.sendall(part)
        return read(connection)


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and code of the one refusal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    error = orjson.loads(body)["error"]
    assert set(error) == {"code", "message", "hint"}
    return int(head.split(b" ")[1]), error["code"]


def test_whole_request_is_answered_and_the_connection_serves_the_next_one(api: Api) -> None:
    answer = said(api, WHOLE, WHOLE)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.count(b"cache-control: no-store") == 2


@pytest.mark.parametrize(
    "start", [b"", b"POST /personal", HEAD, HEAD + b"X-A: b", WHOLE + b"POST", WHOLE + b"\r\n"], ids=lambda b: b[-9:]
)
def test_head_that_does_not_end_is_given_up(api: Api, start: bytes) -> None:
    answer = said(api, start)
    if start.startswith(WHOLE):
        first, _, answer = answer.partition(b"}HTTP/1.1 408")
        assert b"200 OK" in first
        assert bool(answer) is start.endswith(b"POST")
    elif start:
        assert refusal(answer) == (408, "too_slow")
    poll(lambda: api.n_connections == 0, what="no connection left")


def test_head_sent_byte_by_byte_is_given_up_all_the_same(api: Api) -> None:
    with api.connect() as connection:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while api.n_connections or time.monotonic() - began < 0.2:
                connection.send(b"x")
                threading.Event().wait(0.02)
        assert time.monotonic() - began < 20
    poll(lambda: api.n_connections == 0, what="no connection left")


def test_large_requests_are_not_taken_for_large_heads(api: Api) -> None:
    padding = b"X-Padding: " + b"p" * 15_900 + b"\r\n"
    body = orjson.dumps({"user_id": "u1", "limit": 1, "context": {"page": "p" * 500, "referrer": "r" * 500}})
    large = HEAD + padding + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert len(large) > MAX_HEAD_BYTES
    assert said(api, large * 3).count(b"HTTP/1.1 200 OK") == 3
    assert said(api, large + HEAD, b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY).count(b"HTTP/1.1 200 OK") == 2


def test_empty_lines_are_no_request(api: Api) -> None:
    assert said(api, b"\r\n" * MAX_HEAD_BYTES) == b""


@pytest.mark.parametrize("many", [1, 40], ids=["in one", "in many"])
def test_address_and_headers_are_bounded(api: Api, many: int) -> None:
    address = b"POST /" + b"a" * MAX_ADDRESS_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    assert refusal(said(api, address)) == (414, "address_too_long")
    header = b"X-%d: " + b"b" * (MAX_HEAD_BYTES // many) + b"\r\n"
    headers = b"".join(header % n for n in range(many))
    assert refusal(said(api, HEAD, headers, b"\r\n")) == (431, "headers_too_large")
    assert refusal(said(api, HEAD, headers * 20)) == (431, "headers_too_large")
    assert refusal(said(api, b"POST /" + b"a" * 10 * MAX_HEAD_BYTES)) == (414, "address_too_long")


def test_body_that_does_not_arrive_is_408_and_holds_no_place(api: Api) -> None:
    with api.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        poll(lambda: api.n_connections == 1, what="the connection")
        assert api.desk.admission.n_in_flight == 0
        assert refusal(read(connection)) == (408, "body_too_slow")


def test_body_without_end_is_413_at_the_limit(api: Api) -> None:
    chunk = b"%x\r\n" % 1_500 + b"x" * 1_500 + b"\r\n"
    assert refusal(said(api, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk))[0] == 413
    assert refusal(said(api, HEAD + b"Content-Length: 999999999999\r\n\r\n"))[0] == 413


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X-A: b\r\n folded\r\n",
        b"X-A: b\x00c\r\n",
        b"X A: b\r\n",
    ],
)
def test_request_that_two_servers_could_read_in_two_ways_is_no_request(api: Api, headers: bytes) -> None:
    smuggled = b"0\r\n\r\nPOST /personalization HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = said(api, HEAD + headers + b"\r\n" + smuggled)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert refusal(answer) == (400, "bad_request")


def test_pipelined_requests_are_answered_in_their_order(api: Api) -> None:
    ids = [f"p{n}" for n in range(200)]
    bodies = [orjson.dumps({"user_id": user_id, "limit": 1}) for user_id in ids]
    answer = said(api, b"".join(HEAD + b"Content-Length: %d\r\n\r\n" % len(b) + b for b in bodies))
    assert [part.split(b'"')[0].decode() for part in answer.split(b'"user_id":"')[1:]] == ids


def test_client_that_takes_no_answers_is_dropped(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with api.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(1)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(WHOLE * 200)
        poll(lambda: api.n_connections == 0 and not api.server.server_state.tasks, what="no connection left")
    assert "Traceback" not in caplog.text


def test_connections_past_the_limit_are_closed_and_the_others_answered(api: Api) -> None:
    with contextlib.ExitStack() as open_ones:
        first = open_ones.enter_context(api.connect())
        idle = [open_ones.enter_context(api.connect()) for _ in range(60)]
        assert any(connection.recv(1) == b"" for connection in idle[-20:])
        first.sendall(WHOLE)
        assert first.recv(12) == b"HTTP/1.1 200"
    poll(lambda: api.n_connections == 0, what="no connection left")


def test_websocket_is_refused(api: Api) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    answer = said(api, HEAD + upgrade + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert int(answer.split(b" ")[1]) in (400, 403, 405)
    poll(lambda: api.n_connections == 0, what="no connection left")


def test_nothing_sent_stands_in_a_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        said(api, b"GARBAGE u-secret-17\r\n\r\n")
        said(api, HEAD + b"X-A: u-secret-17\x00\r\n\r\n")
        said(api, HEAD + b"Content-Length: 40\r\n\r\n" + b'{"user_id": "u-secret-17"')
    assert "u-secret-17" not in caplog.text

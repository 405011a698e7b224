"""One address in front of two copies: refused, hung and dead copies are passed over."""

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import free_ports

from firstmile.errors import ConflictError
from firstmile.local.failover import Failover


@contextmanager
def copy_on(port: int, name: str) -> Iterator[None]:
    """A server that answers with its name and the body it got."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(name.encode() + b" " + body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(port: int, body: bytes = b"hello") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", body, timeout=20) as answer:
        return answer.read().decode()


def test_the_first_copy_answers_while_it_can() -> None:
    front, first, second = free_ports(3)
    with copy_on(first, "first"), copy_on(second, "second"), Failover("127.0.0.1", front, [first, second]):
        assert [ask(front) for _ in range(3)] == ["first hello"] * 3
        assert ask(front, b"x" * 300_000) == "first " + "x" * 300_000


def test_the_next_copy_answers_when_the_first_is_gone_and_it_is_preferred_again_when_back() -> None:
    front, first, second = free_ports(3)
    with copy_on(second, "second"), Failover("127.0.0.1", front, [first, second]):
        assert ask(front) == "second hello"
        with copy_on(first, "first"):
            end = time.monotonic() + 20
            while ask(front) != "first hello":
                assert time.monotonic() < end
        assert ask(front) == "second hello"


def test_a_copy_that_takes_the_request_and_says_nothing_is_passed_over() -> None:
    front, first, second = free_ports(3)
    with socket.socket() as hung:
        hung.bind(("127.0.0.1", first))
        hung.listen()
        with copy_on(second, "second"), Failover("127.0.0.1", front, [first, second]):
            assert ask(front) == "second hello"


def test_nobody_left_is_a_503_that_says_so() -> None:
    front, first, second = free_ports(3)
    with Failover("127.0.0.1", front, [first, second]), pytest.raises(urllib.error.HTTPError) as refused:
        ask(front)
    assert refused.value.code == 503
    assert b"no copy" in refused.value.read()


def test_a_taken_port_names_its_holder() -> None:
    (front,) = free_ports(1)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", front))
        holder.listen()
        with pytest.raises(ConflictError, match="FIRSTMILE_SERVING__PORT"), Failover("127.0.0.1", front, []):
            pass

"""Traces leave the process: an OTLP/HTTP receiver hears of an answer and its stages."""

import asyncio
import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from serving_builder import Row, Rows, ladder

from serving.requests import Ask
from serving.traces import otlp_traces


class Receiver(BaseHTTPRequestHandler):
    """Takes what is exported."""

    received: list[bytes]

    def do_POST(self) -> None:  # the name http.server calls
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    Receiver.received = []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_collector_hears_of_an_answer_and_its_stages(collector: HTTPServer) -> None:
    traces = otlp_traces(f"http://127.0.0.1:{collector.server_port}/v1/traces")
    assert traces is not None
    traces.decided(
        asyncio.run(ladder(Rows({"u1": Row()})).decide(Ask("u1"), started_s=time.perf_counter())), traceparent=None
    )
    traces.stop()
    spans = [
        span
        for body in Receiver.received
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [s.name for s in spans] == ["features", "models", "policy", "POST /api/personalization"]
    assert len({s.trace_id for s in spans}) == 1

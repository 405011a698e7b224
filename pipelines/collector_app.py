"""The collector's HTTP side: routes, and what is answered.

200       {"accepted": n, "message_ids": […]}, plus "errors" for events of a batch that were not taken
4xx, 503  {"error": {"code", "message", "hint"}}, plus "errors" when no event of a batch was taken
"""

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from firstmile.clock import Clock
from firstmile.errors import DependencyError
from firstmile.names import USER_ACTIONS
from firstmile.setting_sections import CollectorSettings
from firstmile.wire import RecordWriter
from pipelines.call_fields import CallError, object_of
from pipelines.collector_requests import RefusedError, batch_calls, read_body
from pipelines.delivery import Delivery
from pipelines.metrics import CollectorMetrics
from pipelines.rules import Rules
from pipelines.tracking import Arrival, Mapped, map_call, without_repeats

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2
READY_TIMEOUT_S = 1.0


@dataclass
class Collector:
    """Tracking calls to Kafka. `open_delivery` is called in the event loop; between start and stop there is one."""

    settings: CollectorSettings
    writers: Mapping[str, RecordWriter]
    clock: Clock
    open_delivery: Callable[[], Delivery]
    rules: Rules = field(default_factory=Rules)
    metrics: CollectorMetrics = field(default_factory=CollectorMetrics)
    _delivery: Delivery | None = None

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Open the way to Kafka; at the end deliver what waits."""
        self._delivery = self.open_delivery()
        try:
            yield
        finally:
            n_lost = await run_in_threadpool(self._delivery.close)
            if n_lost:
                log.error("Kafka has not acknowledged %d records; no sender was told that it had", n_lost)

    @property
    def delivery(self) -> Delivery:
        """The way to Kafka, while the application runs."""
        assert self._delivery is not None, "the application has not been started"
        return self._delivery

    async def take(self, request: Request, kind: str | None) -> Response:
        """Map the calls of a request, deliver them, answer. `kind` None: a batch."""
        received_us = self.clock.now_us()
        body = await read_body(request, self.settings)
        calls = batch_calls(body, self.settings) if kind is None else [{**body, "type": kind}]
        try:
            common = object_of(body, "context") if kind is None else None
        except CallError as error:
            raise RefusedError(400, error) from None
        agent = request.headers.get("user-agent")
        mapped, errors = _map_all(calls, Arrival(received_us, body.get("sentAt"), common, agent, self.rules))
        for _, refusal in errors:
            self.metrics.events_refused.labels(refusal.code).inc()
        if not mapped:
            listed = {"errors": [_listed(*e) for e in errors]} if kind is None else {}
            raise RefusedError(400, errors[0][1], **listed)
        with self.metrics.kafka.time():
            await self.delivery.send([(t, r["user_id"], self.writers[t].encode(r)) for t, r in without_repeats(mapped)])
        self.metrics.accepted.inc(len(mapped))
        answer: dict[str, Any] = {"accepted": len(mapped), "message_ids": [call.message_id for call in mapped]}
        return _json({**answer, "errors": [_listed(*e) for e in errors]} if errors else answer)

    async def livez(self, request: Request) -> Response:
        """503 when only a restart helps."""
        fatal = self.delivery.fatal
        return _json({"status": "ok"}) if fatal is None else _json({"status": "failed", "problem": fatal}, 503)

    async def readyz(self, request: Request) -> Response:
        """503 while Kafka does not answer."""
        try:
            await run_in_threadpool(self.delivery.check, USER_ACTIONS, READY_TIMEOUT_S)
        except DependencyError as error:
            return _json({"status": "unavailable", "problem": str(error)}, 503)
        return _json({"status": "ok"})

    async def page(self, request: Request) -> Response:
        """Counters, for Prometheus."""
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def build_app(collector: Collector) -> Starlette:
    """The ASGI application of a collector."""
    kinds = {"batch": None, "track": "track", "page": "page", "identify": "identify"}
    routes = [
        *(Route(f"/v1/{path}", _endpoint(collector, kind), methods=["POST"]) for path, kind in kinds.items()),
        Route("/livez", collector.livez),
        Route("/readyz", collector.readyz),
        Route("/metrics", collector.page),
    ]
    # Pages of any origin may write: the key says for whom, and no cookie is read.
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["POST"], allow_headers=["*"])
    handlers: Any = {
        RefusedError: _refused,
        DependencyError: _unavailable,
        HTTPException: _no_such,
        ClientDisconnect: _gone,
    }
    app = Starlette(routes=routes, middleware=[cors], exception_handlers=handlers, lifespan=collector.lifespan)
    app.state.metrics = collector.metrics
    return app


def _endpoint(collector: Collector, kind: str | None) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await collector.take(request, kind)

    return endpoint


def _map_all(calls: list[Any], arrival: Arrival) -> tuple[list[Mapped], list[tuple[int, CallError]]]:
    """The calls that can be used, and the place and error of those that cannot."""
    mapped, errors = [], []
    for index, call in enumerate(calls):
        try:
            mapped.append(map_call(call, arrival, new_id=lambda: str(uuid.uuid4())))
        except CallError as error:
            errors.append((index, error))
    return mapped, errors


def _listed(index: int, error: CallError) -> dict[str, Any]:
    return {"index": index, **error.as_json()}


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def _count_refused(request: Request, error: CallError) -> None:
    request.app.state.metrics.requests_refused.labels(error.code).inc()


async def _refused(request: Request, refusal: RefusedError) -> Response:
    _count_refused(request, refusal.error)
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
    return _json({"error": refusal.error.as_json(), **refusal.extra}, refusal.status, headers)


async def _unavailable(request: Request, error: DependencyError) -> Response:
    log.warning("%s", error)
    told = CallError("unavailable", str(error), f"send it again, with the same messageId, after {RETRY_AFTER_S} s")
    _count_refused(request, told)
    return _json({"error": told.as_json()}, 503, {"Retry-After": str(RETRY_AFTER_S)})


async def _no_such(request: Request, error: HTTPException) -> Response:
    hint = "POST to /v1/batch, /v1/track, /v1/identify or /v1/page"
    told = CallError("no_such_call", f"{request.method} {request.url.path}: {error.detail}", hint)
    _count_refused(request, told)
    return _json({"error": told.as_json()}, error.status_code, error.headers)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody reads it

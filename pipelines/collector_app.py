"""The collector's HTTP side: routes, and what is answered.

200       {"accepted": n, "message_ids": […]}, plus "errors" for events of a batch that were not taken and "notes" for
          what of those taken was not used as it was sent
4xx, 503  {"error": {"code", "message", "hint"}}, plus "errors" when no event of a batch was taken
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from firstmile.clock import Clock
from firstmile.errors import DependencyError
from firstmile.http.bodies import read_bytes
from firstmile.http.guard import Guard
from firstmile.http.refusals import RefusalError, json_response
from firstmile.names import USER_ACTIONS
from firstmile.setting_sections import CollectorSettings
from firstmile.wire import RecordWriter
from pipelines.call_fields import object_of
from pipelines.call_names import BATCH, DOORS
from pipelines.call_times import sent_at_us
from pipelines.collector_calls import Calls, Mapper
from pipelines.collector_doors import PlainAddresses
from pipelines.collector_keys import RequestKeys
from pipelines.collector_requests import batch_calls, parse_body
from pipelines.delivery import Delivery
from pipelines.metrics import CollectorMetrics
from pipelines.notes import Note
from pipelines.rules import Rules
from pipelines.tracking import CONTENT_FIELDS, Arrival

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2
READY_TIMEOUT_S = 1.0


@dataclass
class Collector:
    """Tracking calls to Kafka. `open_delivery` is called in the event loop; between start and stop there is one."""

    settings: CollectorSettings
    writers: Mapping[str, RecordWriter]
    clock: Clock
    guard: Guard
    open_delivery: Callable[[], Delivery]
    rules: Rules = field(default_factory=Rules)
    content_fields: Sequence[str] = CONTENT_FIELDS
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

    async def take(self, request: Request, kind: str) -> Response:
        """Map the calls of a request, one of a kind or a batch, deliver them, answer."""
        received_us = self.clock.now_us()
        keys = RequestKeys(self.guard, request, now_s=time.monotonic())
        limits = self.settings
        sent = await read_bytes(request, max_bytes=limits.max_body_bytes, timeout_ms=limits.body_timeout_ms)
        body = parse_body(sent)
        keys.read(body)
        notes: list[Note] = []
        agent = request.headers.get("user-agent")
        if kind == BATCH:
            calls, context, sent_us = batch_calls(body, limits), object_of(body, "context"), sent_at_us(body, notes)
        else:
            calls, context, sent_us = [{**body, "type": kind}], None, None
        arrival = Arrival(received_us, sent_us, context, agent, self.rules, self.content_fields)
        found = Mapper(self.writers, self.guard).map_all(calls, arrival, keys, notes)
        if not calls:  # the keys of events let nobody in where there are none
            keys.of(None)
        keys.charge(found.used)
        return await self._answer(found, is_batch=kind == BATCH)

    async def _answer(self, found: Calls, *, is_batch: bool) -> Response:
        for _, refusal in found.errors:
            self.metrics.events_refused.labels(refusal.code).inc()
        if found.errors and not found.message_ids:
            raise found.refusal(is_batch=is_batch)
        with self.metrics.kafka.time():
            await self.delivery.send(found.queued)
        self.metrics.accepted.inc(len(found.message_ids))
        for _, note in found.notes:
            self.metrics.notes.labels(note.code).inc()
        return json_response(found.answer())

    async def livez(self, request: Request) -> Response:
        """503 when only a restart helps."""
        fatal = self.delivery.fatal
        return (
            json_response({"status": "ok"})
            if fatal is None
            else json_response({"status": "failed", "problem": fatal}, status=503)
        )

    async def readyz(self, request: Request) -> Response:
        """503 while Kafka does not answer."""
        try:
            await run_in_threadpool(self.delivery.check, USER_ACTIONS, READY_TIMEOUT_S)
        except DependencyError as error:
            return json_response({"status": "unavailable", "problem": str(error)}, status=503)
        return json_response({"status": "ok"})

    async def page(self, request: Request) -> Response:
        """Counters, for Prometheus."""
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def build_app(collector: Collector) -> Starlette:
    """The ASGI application of a collector."""
    routes = [
        *(Route(f"/v1/{door}", _endpoint(collector, kind), methods=["POST"]) for door, kind in DOORS.items()),
        Route("/livez", collector.livez),
        Route("/readyz", collector.readyz),
        Route("/metrics", collector.page),
    ]
    # Pages of any origin may write: the key says for whom, and no cookie is read.
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
    )
    handlers: Any = {
        RefusalError: _refused,
        DependencyError: _unavailable,
        HTTPException: _no_such,
    }
    app = Starlette(
        routes=routes,
        middleware=[cors, Middleware(PlainAddresses)],
        exception_handlers=handlers,
        lifespan=collector.lifespan,
    )
    app.state.metrics = collector.metrics
    return app


def _endpoint(collector: Collector, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await collector.take(request, kind)

    return endpoint


def _counted(request: Request, error: RefusalError) -> Response:
    request.app.state.metrics.requests_refused.labels(error.code).inc()
    return error.response()


async def _refused(request: Request, refusal: RefusalError) -> Response:
    return _counted(request, refusal)


async def _unavailable(request: Request, error: DependencyError) -> Response:
    log.warning("%s", error)
    hint = f"send it again, with the same messageId, after {RETRY_AFTER_S} s"
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return _counted(request, RefusalError(503, "unavailable", message=str(error), hint=hint, headers=headers))


async def _no_such(request: Request, error: HTTPException) -> Response:
    hint = f"POST to /v1/ and one of {', '.join(door for door in DOORS if len(door) > 1)}"
    message = f"{request.method} {request.url.path}: {error.detail}"
    headers = dict(error.headers or {})
    return _counted(
        request, RefusalError(error.status_code, "no_such_call", message=message, hint=hint, headers=headers)
    )

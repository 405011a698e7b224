"""POST /api/personalization as a plain ASGI app: authenticate, validate, limit, ask the ladder, log.

POST /api/exposure says that an answer was shown.

Not a BentoML route: those parse with pydantic twice and cost several times the decision itself.
"""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from firstmile.http.guard import Guard
from firstmile.http.refusals import RefusalError, json_response
from firstmile.setting_sections import ServingSettings
from serving.address import EXPOSURE_ROUTE, PREFIX, ROUTE
from serving.admission import Admission
from serving.bodies import read_body
from serving.cors import cors_middleware
from serving.exposures import SHOWN
from serving.openapi import OPENAPI_ROUTE, openapi
from serving.requests import parse, parse_exposure

if TYPE_CHECKING:  # BentoML's supervisor imports this module and needs neither models nor features
    from serving.decisions import DecisionLog
    from serving.exposures import Exposures
    from serving.ladder import Ladder
    from serving.metrics import Metrics
    from serving.shadow import Shadow
    from serving.traces import Traces


@dataclass
class Desk:
    """Everything a request needs, put into the app's state when the process is ready to answer."""

    settings: ServingSettings
    ladder: "Ladder"
    decisions: "DecisionLog"
    metrics: "Metrics"
    guard: Guard
    exposures: "Exposures"
    shadow: "Shadow"
    admission: Admission = field(default_factory=Admission)
    traces: "Traces | None" = None


def build_app(*, cors_origins: str = "") -> Starlette:
    """The app without its desk; `app.state.desk` must be set before the first request.

    Raises SettingsError for origins that are none.
    """
    routes: list[BaseRoute] = [
        Route(ROUTE, personalization, methods=["POST"]),
        Route(EXPOSURE_ROUTE, exposure, methods=["POST"]),
        Route(OPENAPI_ROUTE, description, methods=["GET"]),
    ]
    return Starlette(
        routes=[*routes, Route("/{path:path}", _Elsewhere(routes))],
        middleware=cors_middleware(cors_origins),
        exception_handlers={RefusalError: _refused, HTTPException: _http_error},
    )


def build_docs_app() -> Starlette:
    """The OpenAPI document where BentoML has its own, which knows nothing of a mounted app: its page shows ours."""
    return Starlette(routes=[Route("/docs.json", description, methods=["GET"])])


async def personalization(request: Request) -> Response:
    """Answer one request. Raises RefusalError for requests that cannot be answered."""
    desk: Desk = request.app.state.desk
    key = desk.guard.admit(request, now_s=time.perf_counter())
    body = await read_body(request, desk.settings)
    started_s = time.perf_counter()  # a slow network's time is not the ladder's
    wanted = parse(body)
    desk.guard.allow(key, wanted, now_s=started_s)
    ask = wanted.ask()
    if desk.admission.sheds(desk.settings):
        decision = desk.ladder.shed(ask, started_s=started_s)
    else:
        with desk.admission:
            decision = await desk.ladder.decide(ask, started_s=started_s)
    desk.shadow.log(decision)
    token = desk.exposures.remember(decision)
    desk.metrics.decided(decision)
    if desk.traces is not None:
        desk.traces.decided(decision, request.headers.get("traceparent"))
    return json_response(decision.response(token=token))


class OneDecision:
    """POST /api/personalization alone, of the app that has the desk: no routes, no middleware."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self._app
        request = Request(scope, receive)
        try:
            response = await personalization(request)
        except RefusalError as error:
            response = await _refused(request, error)
        await response(scope, receive, send)


async def exposure(request: Request) -> Response:
    """Take it that an answer was shown. Raises RefusalError for what cannot be taken."""
    desk: Desk = request.app.state.desk
    key = desk.guard.admit(request, now_s=time.perf_counter())
    asked = parse_exposure(await read_body(request, desk.settings))
    desk.guard.allow(key, asked, now_s=time.perf_counter())
    desk.exposures.shown(asked)
    return json_response({"request_id": asked.request_id, "kind": SHOWN}, status=202)


async def description(request: Request) -> Response:
    """The OpenAPI document."""
    return json_response(openapi())


@dataclass(frozen=True)
class _Elsewhere:
    """404, or 405 where another method is answered. BentoML would answer both, in another form."""

    routes: list[BaseRoute]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for route in self.routes:
            if route.matches(scope)[0] is Match.PARTIAL:
                await route.handle(scope, receive, send)
        raise HTTPException(404)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    request.app.state.desk.metrics.refused.labels(error.code).inc()
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    body = {"error": {"code": code, "message": str(error.detail), "hint": f"POST {PREFIX}{ROUTE}"}}
    return json_response(body, status=error.status_code, headers=dict(error.headers or {}))

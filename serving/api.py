"""POST /api/personalization as a plain ASGI app: authenticate, validate, limit, ask the ladder, log.

Not a BentoML route: those parse with pydantic twice and cost several times the decision itself.
"""

import asyncio
import hmac
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from firstmile.setting_sections import ServingSettings
from serving.address import PREFIX, ROUTE
from serving.admission import Admission
from serving.limits import RateLimit
from serving.requests import RefusalError, json_response, parse

if TYPE_CHECKING:  # BentoML's supervisor imports this module and needs neither models nor features
    from serving.decisions import DecisionLog
    from serving.ladder import Ladder
    from serving.metrics import Metrics
    from serving.traces import Traces

BODY_TIMEOUT_S = 10.0
"""How long a body may be on its way: a request holds a connection, and nothing else of ours, until it is whole."""


@dataclass
class Desk:
    """Everything a request needs, put into the app's state when the process is ready to answer."""

    settings: ServingSettings
    ladder: "Ladder"
    decisions: "DecisionLog"
    metrics: "Metrics"
    limit: RateLimit
    admission: Admission = field(default_factory=Admission)
    traces: "Traces | None" = None


def build_app() -> Starlette:
    """The app without its desk; `app.state.desk` must be set before the first request."""
    return Starlette(
        routes=[Route(ROUTE, personalization, methods=["POST"])],
        exception_handlers={RefusalError: _refused, HTTPException: _http_error},
    )


async def personalization(request: Request) -> Response:
    """Answer one request. Raises RefusalError for requests that cannot be answered."""
    desk: Desk = request.app.state.desk
    started_s = time.perf_counter()
    _authenticate(request, desk.settings.api_key.get_secret_value())
    ask = parse(await _body(request, desk.settings.max_body_bytes))
    if not desk.limit.allows(ask.user_id, now_s=started_s):
        raise RefusalError(
            429,
            "too_many_requests",
            message=f"more than {desk.limit.per_s:g} requests per second for this user",
            hint="wait a second; ask once per page view",
            headers={"Retry-After": "1"},
        )
    if desk.admission.sheds(desk.settings):
        decision = desk.ladder.shed(ask, started_s=started_s)
    else:
        with desk.admission:
            decision = await desk.ladder.decide(ask, started_s=started_s)
    desk.decisions.put(decision)
    desk.metrics.decided(decision)
    if desk.traces is not None:
        desk.traces.decided(decision, request.headers.get("traceparent"))
    return json_response(decision.response())


def _authenticate(request: Request, key: str) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode()):
        return
    raise RefusalError(
        401,
        "unauthorized",
        message="no valid API key was given",
        hint="send the header `Authorization: Bearer KEY`; the key is FIRSTMILE_SERVING__API_KEY",
        headers={"WWW-Authenticate": "Bearer"},
    )


async def _body(request: Request, max_bytes: int) -> bytes:
    too_large = RefusalError(
        413, "body_too_large", message=f"a body may have {max_bytes} bytes", hint="send only what the API asks for"
    )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise too_large
    except (ClientDisconnect, TimeoutError):
        raise RefusalError(
            400, "incomplete_body", message="the body did not arrive whole", hint="send it again"
        ) from None
    return bytes(body)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    request.app.state.desk.metrics.refused.labels(error.code).inc()
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    body = {"error": {"code": code, "message": str(error.detail), "hint": f"POST {PREFIX}{ROUTE}"}}
    return json_response(body, status=error.status_code, headers=dict(error.headers or {}))

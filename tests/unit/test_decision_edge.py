"""The edge of the decision API: pages of other origins, kinds of bodies, paths there are none of, and silent logs."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import redis
from decision_sinks import Dropped, ListSink, wait_for
from desk_builder import NOWHERE, make_desk
from serving_builder import Broken, Row, Rows, model
from starlette.applications import Starlette

from firstmile.errors import SettingsError, WireError
from firstmile.http.keys import Key, KeyRing, digest, user_hash
from firstmile.names import RUNGS
from firstmile.setting_sections import ServingSettings
from firstmile.vocabulary import MODELS
from serving.api import Desk, build_app
from serving.cors import origins
from serving.requests import parse
from serving.schema import PersonalizationAnswer

PAGE = "https://app.example.com"
ANONYMOUS_ID = "anon_0b0f3b1c-6a5e-4c1e-9d2a-5f0c4c1e9d2a"
ODD = "o\U0001f98ad-17@mail.example"
"""A user id and a page as nobody else has them: found in a log, it came from the request."""
Send = Callable[..., httpx.Response]


def edge(
    reader: Rows | None = None,
    models: Any = None,
    *,
    sink: ListSink | None = None,
    spool: Path = NOWHERE,
    **settings: Any,
) -> Starlette:
    serving = ServingSettings(**settings)
    ring = KeyRing({digest("sec"): Key("s", "secret"), digest("pub"): Key("p", "publishable")}, ["sesame"])
    app = build_app(cors_origins=PAGE)
    app.state.desk = make_desk(serving, reader=reader, models=models, keys=ring, sink=sink, spool=spool)
    return app


def send(app: Starlette, body: Any = None, *, key: str = "sec", method: str = "POST", **more: Any) -> httpx.Response:
    """One request; `headers` and `path` may be others."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **more.get("headers", {})}
    content = body if isinstance(body, bytes) else orjson.dumps({"user_id": "u1"} if body is None else body)

    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.request(method, more.get("path", "/personalization"), headers=headers, content=content)

    return asyncio.run(call())


def test_preflight_of_an_allowed_page_is_answered_without_a_key() -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, baggage, content-type, sentry-trace, traceparent, tracestate",
        "Authorization": "",
    }
    answer = send(edge(), b"", method="OPTIONS", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example.com", f"{PAGE}.evil.example", "null"])
def test_other_pages_are_told_nothing(origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in send(edge(), b"", method="OPTIONS", headers=asked).headers
    assert "access-control-allow-origin" not in send(edge(), key="pub", headers={"Origin": origin}).headers


@pytest.mark.parametrize("wanted", [{"anonymous_id": ANONYMOUS_ID}, {"user_id": "u1"}, {}], ids=str)
def test_allowed_page_can_read_answers_and_refusals_and_nobody_keeps_them(wanted: dict[str, str]) -> None:
    answer = send(edge(), wanted, key="pub", headers={"Origin": PAGE})
    assert answer.status_code in (200, 400, 403)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


def test_without_origins_no_page_can_ask() -> None:
    app = build_app()
    app.state.desk = edge().state.desk
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    answer = send(app, b"", method="OPTIONS", headers=asked)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "text", ["*", "null", "app.example.com", "https://", f"{PAGE}/", f"{PAGE}/path", "ftp://x", "https://*.example.com"]
)
def test_what_is_no_origin_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="FIRSTMILE_SERVING__CORS_ORIGINS"):
        origins(f"https://fine.example, {text}")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
        ({"Content-Type": 'application/json;charset="utf-8"'}, 200),
        ({"Content-Type": "application/json; charset=utf8"}, 200),
        ({"Content-Type": "application/json; version=1; charset=UTF8"}, 200),
        ({"Content-Type": "application/json; version=1; charset=latin-1"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
def test_only_plain_json_is_read(headers: dict[str, str], status: int) -> None:
    assert send(edge(), headers=headers).status_code == status


def test_context_longer_than_is_kept_is_cut_and_refuses_no_request() -> None:
    app = edge()
    long = dict.fromkeys(("page", "referrer", "campaign"), "r" * 600)
    assert send(app, {"user_id": "u1", "context": long}).status_code == 200
    assert parse(orjson.dumps({"user_id": "u1", "context": long})).ask().context == dict.fromkeys(long, "r" * 512)


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/personalization", 405, {"POST"}),
        ("DELETE", "/openapi.json", 405, {"GET", "HEAD"}),
        ("POST", "/personalization/", 404, set()),
        ("POST", "//personalization", 404, set()),
        ("GET", "/", 404, set()),
        ("GET", "/../etc/passwd", 404, set()),
        ("POST", "/personalization%00", 404, set()),
        ("BREW", "/coffee", 404, set()),
    ],
)
def test_what_is_not_here_is_said_in_the_same_form(method: str, path: str, status: int, allowed: set[str]) -> None:
    answer = send(edge(), method=method, path=path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message", "hint"}
    assert {m for m in answer.headers.get("allow", "").split(", ") if m} == allowed


def test_answer_of_every_rung_has_the_documented_form() -> None:
    broken = Rows({"u1": Row()}, error=redis.ConnectionError("away"))
    few = {n: model(n) for n in MODELS if n != "activation"}
    rows = Rows({"u1": Row()})
    known, full = edge(rows), edge(max_in_flight=1)
    full.state.desk.admission.n_in_flight = 1
    given = [
        ("model", known),
        ("rules", edge(broken)),
        ("rules", edge(Rows(lag_ms=None))),
        ("rules", edge(models={})),
        ("partial", edge(models=few)),
        ("default", full),
    ]
    rungs = [PersonalizationAnswer.model_validate_json(send(app).content).rung for _, app in given]
    assert rungs == [rung for rung, _ in given]
    rows.error = redis.ConnectionError("away")
    assert PersonalizationAnswer.model_validate_json(send(known).content).rung == "cached"
    assert {*rungs, "cached"} == set(RUNGS)


def test_no_user_and_no_page_stand_in_a_log_whatever_goes_wrong(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    good = {"user_id": ODD, "anonymous_id": ODD, "context": {"page": ODD, "locale": ODD}}
    statuses = [
        send(edge(), good, key="wrong").status_code,
        send(edge(), good, key=ODD.encode().hex()).status_code,
        send(edge(), good, key="pub").status_code,
        send(edge(), {**good, "user_hash": user_hash("u2", "sesame")}, key="pub").status_code,
        send(edge(), {**good, ODD: 1}).status_code,
        send(edge(), {"user_id": ODD + "\0"}).status_code,
        send(edge(), ODD.encode("utf-16")).status_code,
        send(edge(), orjson.dumps(good)[:-3]).status_code,
        send(edge(), {**good, "limit": ODD}).status_code,
        send(edge(max_body_bytes=256), {**good, "x": "y" * 300}).status_code,
        send(edge(), good, headers={"Content-Type": "text/plain"}).status_code,
        send(edge(), good, path=f"/{ODD}").status_code,
    ]
    limited = edge(user_requests_per_s=0.001)
    statuses += [send(limited, good).status_code for _ in range(2)]
    failing = {n: model(n, booster=Broken(ValueError("no score"))) for n in MODELS}
    for error in (redis.ConnectionError("away"), redis.ResponseError("WRONGTYPE"), RuntimeError("bug")):
        statuses += [send(edge(Rows({ODD: Row()}, error=error)), good).status_code for _ in range(6)]
    app = edge(Rows({ODD: Row()}), failing, sink=ListSink(trouble=[WireError("it does not fit")]), spool=tmp_path)
    with logged_as_unfit(app.state.desk):
        statuses.append(send(app, good).status_code)
    assert {401, 403, 400, 413, 415, 404, 429, 200} == set(statuses)
    assert "features failed" in caplog.text
    assert "a decision is not logged" in caplog.text
    said = "\n".join(r.getMessage() + (r.exc_text or "") for r in caplog.records if r.name != "httpx")  # our own client
    for trace in (ODD, ODD.encode("unicode_escape").decode(), repr(ODD.encode())[2:-1], "mail.example", "\\U0001f98a"):
        assert trace not in said


@contextmanager
def logged_as_unfit(desk: Desk) -> Iterator[None]:
    """A decision made within is handed on, and refused by the sink."""
    dropped = Dropped(desk.metrics, "unfit")
    desk.decisions.start()
    yield
    wait_for(lambda: dropped.since() == 1)
    desk.decisions.stop()

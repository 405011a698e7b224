"""The decision API as design.md gives it: requests, answers and errors, over the ASGI app in this process."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from desk_builder import guard, make_desk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_builder import Row, Rows
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from firstmile.names import RUNGS, STAGES
from firstmile.setting_sections import ServingSettings
from firstmile.vocabulary import FORMATS, SKILL_LEVELS
from serving.address import PREFIX
from serving.admission import FirstLayer
from serving.api import Desk, OneDecision, build_app
from serving.heartbeat import Heartbeat

KEY = "demo-api-key"
ANSWER = {
    "request_id",
    "user_id",
    "segment",
    "preferences",
    "activation_probability",
    "predictions",
    "flow",
    "recommended_content",
    "experiment",
    "rung",
    "fallback",
    "reasons",
    "models",
    "feature_lag_ms",
    "latency_ms",
}
Post = Callable[..., httpx.Response]


@pytest.fixture
def reader() -> Rows:
    return Rows({"u1": Row()})


@pytest.fixture
def desk(reader: Rows) -> Desk:
    return make_desk(reader=reader, max_shown=3)


@pytest.fixture(params=["first layer", "whole app"])
def post(desk: Desk, request: pytest.FixtureRequest) -> Post:
    """Asks the server's first layer, which knows a short way for decisions, or the app that pages of others ask."""
    app = build_app()
    app.state.desk = desk
    ways: dict[str, tuple[str, ASGIApp]] = {
        "whole app": ("", app),
        "first layer": (PREFIX, FirstLayer(Starlette(routes=[Mount(PREFIX, app)]), app, OneDecision(app))),
    }
    prefix, asked = ways[request.param]

    def send(
        body: Any,
        *,
        authorization: str | None = f"Bearer {KEY}",
        method: str = "POST",
        route: str = "/personalization",
    ) -> httpx.Response:
        headers = {} if authorization is None else {"Authorization": authorization.encode()}
        content = body if isinstance(body, bytes) else orjson.dumps(body)

        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(asked), base_url="http://x") as client:
                return await client.request(method, prefix + route, headers=headers, content=content)

        return asyncio.run(call())

    return send


def error(response: httpx.Response) -> dict[str, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "hint"}
    assert all(body["error"].values())
    return dict(body["error"])


def check_answer(answer: dict[str, Any], *, limit: int) -> None:
    assert set(answer) == ANSWER
    assert answer["segment"]["skill_level"] in SKILL_LEVELS
    assert answer["segment"]["stage"] in STAGES
    assert 0 <= answer["segment"]["confidence"] <= 1
    assert sum(p["probability"] for p in answer["preferences"]) == pytest.approx(1, abs=0.001)
    assert {p["format"] for p in answer["preferences"]} <= set(FORMATS)
    assert 1 <= len(answer["recommended_content"]) <= limit
    for item in answer["recommended_content"]:
        assert {"content_id", "title", "format", "score", "reason"} <= set(item)
    assert answer["rung"] in RUNGS
    assert answer["experiment"].pop("token")
    assert answer["experiment"] == {"name": "onboarding-v1", "arm": "champion"}


def test_full_request_gets_the_answer_of_the_design(post: Post) -> None:
    body = {"user_id": "u1", "anonymous_id": "a1", "context": {"page": "/welcome", "locale": "en"}, "limit": 3}
    response = post(body)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    check_answer(answer, limit=3)
    assert (answer["user_id"], answer["rung"], len(answer["recommended_content"])) == ("u1", "model", 3)


def test_limit_is_five_when_not_given(post: Post) -> None:
    assert len(post({"user_id": "u1"}).json()["recommended_content"]) == 5


def test_every_answer_is_queued_for_the_log_once_and_counted(post: Post, desk: Desk) -> None:
    # Feast, once imported, makes prometheus_client share its values between instances: only differences say anything.
    before = n_counted(desk)
    ids = [post({"user_id": "u1"}).json()["request_id"] for _ in range(3)]
    assert len(set(ids)) == desk.decisions.n_waiting == 3
    assert n_counted(desk) - before == 3


def n_counted(desk: Desk) -> float:
    desk.metrics.decisions.labels("model", "false")  # loads what the process counted before
    labels = {"rung": "model", "fallback": "false"}
    return desk.metrics.registry.get_sample_value("firstmile_decisions_total", labels) or 0.0


def sample(desk: Desk, name: str, **labels: str) -> float:
    return desk.metrics.registry.get_sample_value(name, labels) or 0.0


def test_shed_answers_lag_and_lookups_of_the_cache_are_counted(post: Post, desk: Desk, reader: Rows) -> None:
    for result in ("hit", "miss"):
        desk.metrics.cache.labels(result)  # loads what the process counted before

    def counted() -> list[float]:
        hits = [sample(desk, "firstmile_cache_lookups_total", result=r) for r in ("hit", "miss")]
        return [
            sample(desk, "firstmile_decisions_shed_total"),
            sample(desk, "firstmile_feature_lag_seconds_count"),
            *hits,
        ]

    before = counted()
    post({"user_id": "u1"})
    assert [a - b for a, b in zip(counted(), before, strict=True)] == [0, 1, 0, 0]
    desk.admission.n_in_flight = desk.settings.max_in_flight
    post({"user_id": "u1"})
    assert [a - b for a, b in zip(counted(), before, strict=True)] == [1, 1, 0, 0]
    desk.admission.n_in_flight = 0
    reader.error = ConnectionError("away")
    post({"user_id": "u1"})
    post({"user_id": "never seen"})
    assert [a - b for a, b in zip(counted(), before, strict=True)] == [1, 1, 1, 1]


@pytest.mark.parametrize("given_key", [None, "", "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer schlüssel"])
def test_request_without_the_key_is_refused(post: Post, given_key: str | None) -> None:
    response = post({"user_id": "u1"}, authorization=given_key)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert error(response)["code"] == "unauthorized"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        ([], "body"),
        ({}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": 17.5}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": "  "}, "user_id"),
        ({"user_id": "undefined"}, "user_id"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"user_id": "a\u0000b"}, "user_id"),
        (b'{"user_id": "\\ud800"}', "body"),
        ({"user_id": "u1", "limit": 0}, "limit"),
        ({"user_id": "u1", "limit": 51}, "limit"),
        ({"user_id": "u1", "limit": "5"}, "limit"),
        ({"user_id": "u1", "limitt": 5}, "limitt"),
        ({"user_id": "u1", "context": {"page": 5}}, "context.page"),
        ({"user_id": "u1", "context": "/welcome"}, "context"),
        ({"user_id": None}, "user_id"),
        ({"user_id": "u1", "user_hash": "abc"}, "user_hash"),
        ({"user_id": "u1", "context": {"page": "a\u0000b"}}, "context.page"),
        ({"user_id": "u1", "x" * 5_000: 1}, "xxx"),
        (b'{"user_id": "u1", "user_id": "u2"}', "body: it is not JSON: a key stands twice"),
        (b'{"user_id": "u1", "context": {"page": "/a", "page": "/b"}}', "body: it is not JSON: a key stands twice"),
        (b'{"user_id": "u1", "\\udc00": 1}', "body: it is not UTF-8"),
        (b'{"user_id": "u1", "context": {"colour": "\\ud800"}}', "body: it is not UTF-8"),
        (b'{"user_id": "u1", "limit": NaN}', "body: it is not JSON: NaN"),
        (b'{"user_id": "u1", "limit": 1e999}', "body: it is not JSON: a number is too great"),
        (b'{"user_id": "u1", "limit": ' + b"9" * 5_000 + b"}", "body: it is not JSON: a number has more"),
        (b'{"user_id": "u1", "limit": 5.5}', "limit"),
        (b'{"user_id": "u1", "context": {"colour": ' + b"[" * 7_000 + b"]" * 7_000 + b"}}", "body: it is nested"),
        (b'\xef\xbb\xbf{"user_id": "u1"}', "body"),
        ('{"user_id": "u1"}'.encode("utf-16"), "body"),
        (b'{"user_id": "u1"} {}', "body"),
    ],
)
def test_wrong_body_is_refused_naming_the_field(post: Post, body: Any, said: str) -> None:
    response = post(body)
    assert response.status_code == 400
    assert error(response)["message"].startswith(said)


def test_unknown_context_is_left_aside(post: Post) -> None:
    assert post({"user_id": "u1", "context": {"page": "/home", "colour": [1, 2]}}).status_code == 200


def test_body_over_the_limit_is_refused_whether_declared_or_not(post: Post, desk: Desk) -> None:
    desk.settings = ServingSettings(max_body_bytes=300)
    response = post({"user_id": "u1", "context": {"page": "x" * 300}})
    assert (response.status_code, error(response)["code"]) == (413, "body_too_large")


def test_user_over_the_rate_is_told_how_long_to_wait(post: Post, desk: Desk) -> None:
    desk.guard = guard(ServingSettings(user_requests_per_s=0.001))
    assert [post({"user_id": "u1"}).status_code for _ in range(2)] == [200, 429]
    refused = post({"user_id": "u1"})
    assert 900 < int(refused.headers["retry-after"]) <= 1_000
    assert error(refused)["code"] == "too_many_requests"
    assert post({"user_id": "u2"}).status_code == 200


def test_a_number_is_a_number_however_it_is_written(post: Post) -> None:
    assert len(post(b'{"user_id": "u1", "limit": 2.0}').json()["recommended_content"]) == 2


def test_visitor_without_a_user_id_is_answered_by_the_anonymous_id(post: Post) -> None:
    answer = post({"anonymous_id": "u1"}).json()
    assert (answer["user_id"], answer["rung"]) == ("u1", "model")


def test_requests_are_shed_while_the_loop_is_late_but_not_before_who_may_not_ask_is_told(
    post: Post, desk: Desk
) -> None:
    now_s = [0.0]
    desk.admission.heartbeat = Heartbeat(now_s=lambda: now_s[0])
    loop = asyncio.new_event_loop()
    desk.admission.heartbeat.start(loop)  # and it never comes round
    now_s[0] = 1.0
    assert post({"user_id": "u1", "limit": 2}).json()["reasons"] == ["shed"]
    assert post({"user_id": "u1"}, authorization=None).status_code == 401
    assert post({"user_id": 17.5}).status_code == 400
    loop.close()


def test_requests_past_capacity_are_shed_to_the_default_flow(post: Post, desk: Desk) -> None:
    desk.admission.n_in_flight = desk.settings.max_in_flight
    answer = post({"user_id": "u1"}).json()
    check_answer(answer, limit=5)
    assert (answer["rung"], answer["flow"], answer["reasons"]) == ("default", "default", ["shed"])


def test_other_method_is_refused_in_the_same_form(post: Post) -> None:
    response = post({}, method="GET")
    assert (response.status_code, error(response)["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
bodies = anything | st.fixed_dictionaries(
    {"user_id": st.text() | anything},
    optional={"anonymous_id": anything, "context": anything, "limit": st.integers(-2, 60) | anything},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=bodies)
def test_any_body_is_answered_or_refused_with_a_hint(post: Post, body: Any) -> None:
    response = post(orjson.dumps(body))
    if response.status_code == 200:
        check_answer(response.json(), limit=50)
    else:
        assert response.status_code == 400
        error(response)


def test_key_can_be_another_one(post: Post, desk: Desk) -> None:
    desk.guard = guard(ServingSettings(api_key="other"))  # type: ignore[arg-type]
    assert post({"user_id": "u1"}).status_code == 401
    assert post({"user_id": "u1"}, authorization="bearer other").status_code == 200


def show(post: Post, request_id: str, user_id: str = "u1", *, token: str | None = "", **changes: Any) -> httpx.Response:
    """The exposure of an answer; without a token unless one is given."""
    said = {} if token == "" else {"token": token}
    return post({"request_id": request_id, "user_id": user_id, **said}, route="/exposure", **changes)


def n_shown(desk: Desk, experiment: str, arm: str) -> float:
    desk.metrics.shown.exposures.labels(experiment, arm)  # loads what the process counted before
    labels = {"experiment": experiment, "arm": arm}
    return desk.metrics.registry.get_sample_value("firstmile_exposures_total", labels) or 0.0


def test_shown_answer_is_counted_once_in_its_arm_however_often_it_is_said(post: Post, desk: Desk) -> None:
    before = n_shown(desk, "onboarding-v1", "champion")
    request_id = post({"user_id": "u1"}).json()["request_id"]
    for _ in range(3):
        response = show(post, request_id)
        assert (response.status_code, response.json()) == (202, {"request_id": request_id, "kind": "shown"})
    assert n_shown(desk, "onboarding-v1", "champion") - before == 1


def test_answer_of_another_worker_is_counted_in_the_arm_drawn_again(post: Post, desk: Desk) -> None:
    before = n_shown(desk, "e", "drawn")
    assert [show(post, "0" * 32).status_code for _ in range(2)] == [202, 202]
    assert n_shown(desk, "e", "drawn") - before == 1


def test_answer_of_another_worker_is_counted_in_the_arm_its_token_says(post: Post, desk: Desk) -> None:
    answered = post({"user_id": "u1"}).json()
    other = make_desk()  # another worker, which has the keys alone
    desk.exposures = other.exposures
    before = n_shown(other, "onboarding-v1", "champion"), n_shown(other, "e", "drawn")
    token = answered["experiment"]["token"]
    for _ in range(2):
        assert show(post, answered["request_id"], token=token).status_code == 202
    assert n_shown(other, "onboarding-v1", "champion") - before[0] == 1
    assert n_shown(other, "e", "drawn") == before[1]


@pytest.mark.parametrize("remembered", [True, False])
def test_token_of_another_answer_is_refused_and_counts_nowhere(post: Post, desk: Desk, remembered: bool) -> None:
    first, second = (post({"user_id": "u1"}).json() for _ in range(2))
    if not remembered:
        desk.exposures = make_desk().exposures
    refused = show(post, first["request_id"], token=second["experiment"]["token"])
    assert (refused.status_code, error(refused)["code"]) == (403, "wrong_token")
    assert show(post, first["request_id"], token=None).status_code == 202
    assert show(post, second["request_id"], token=second["experiment"]["token"]).status_code == 202


def test_answer_of_another_user_is_refused(post: Post) -> None:
    response = show(post, post({"user_id": "u1"}).json()["request_id"], "u2")
    assert (response.status_code, error(response)["code"]) == (409, "not_this_users_answer")


def test_exposures_past_what_can_wait_are_to_be_sent_again_and_not_counted(post: Post, desk: Desk) -> None:
    before = n_shown(desk, "e", "drawn")
    assert [show(post, f"{n:032x}").status_code for n in range(4)] == [202, 202, 202, 429]
    refused = show(post, f"{3:032x}")
    assert (refused.headers["retry-after"], error(refused)["code"]) == ("1", "too_many_exposures")
    assert n_shown(desk, "e", "drawn") - before == 3


def test_exposure_needs_the_key_and_keeps_to_the_rate(post: Post, desk: Desk) -> None:
    assert show(post, "0" * 32, authorization=None).status_code == 401
    desk.guard = guard(ServingSettings(user_requests_per_s=0.001))
    assert [show(post, f"{n:032x}").status_code for n in range(2)] == [202, 429]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"user_id": "u1"}, "request_id"),
        ({"request_id": "x", "user_id": "u1"}, "request_id"),
        ({"request_id": "0" * 32}, "user_id"),
        ({"request_id": "0" * 32, "user_id": "u1", "arm": "b"}, "arm"),
        ({"request_id": "0" * 32, "user_id": "u1", "token": ""}, "token"),
        ({"request_id": "0" * 32, "user_id": "u1", "token": "A" * 25}, "token"),
        ({"request_id": "0" * 32, "user_id": "u1", "token": "A" * 29}, "token"),
        ({"request_id": "0" * 32, "user_id": "u1", "token": "A" * 27 + "="}, "token"),
        (b"{", "body"),
    ],
)
def test_wrong_exposure_is_refused_naming_the_field(post: Post, body: Any, said: str) -> None:
    response = post(body, route="/exposure")
    assert response.status_code == 400
    assert error(response)["message"].startswith(said)

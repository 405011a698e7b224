"""The decision API keeps what its OpenAPI document promises: schemathesis asks what it allows, and what it does not."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from desk_builder import make_desk
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.python.asgi import ASGIClient, get_client
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import ignored_auth
from starlette.applications import Starlette
from starlette.routing import Mount

from firstmile.http.keys import Key, KeyRing, digest
from firstmile.setting_sections import ServingSettings
from serving.address import EXPOSURE_ROUTE, PREFIX, ROUTE
from serving.api import Desk, build_app
from serving.openapi import OPENAPI_ROUTE, openapi

SECRET, PUBLISHABLE = "a-secret-key", "a-publishable-key"
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
N_SHORT = 100
N_CASES = 20_000
N_PER_PIECE = 250


def fake_desk() -> Desk:
    serving = ServingSettings(user_requests_per_s=0, key_requests_per_s=0, address_requests_per_s=0)
    ring = KeyRing({digest(SECRET): Key("s", "secret"), digest(PUBLISHABLE): Key("p", "publishable")}, ["sesame"])
    return make_desk(serving, keys=ring, max_shown=100_000)


@pytest.fixture(scope="module")
def app() -> Starlette:
    """As BentoML mounts it."""
    api = build_app(cors_origins="https://app.example.com")
    api.state.desk = fake_desk()
    return Starlette(routes=[Mount(PREFIX, api)])


@pytest.fixture(scope="module")
def client(app: Starlette) -> Iterator[ASGIClient]:
    with get_client(app) as session:
        yield session


@pytest.fixture(scope="module")
def operations(app: Starlette) -> dict[str, APIOperation]:
    schema = schemathesis.openapi.from_asgi(PREFIX + OPENAPI_ROUTE, app)
    return {
        "personalize": schema[ROUTE]["POST"],
        "expose": schema[EXPOSURE_ROUTE]["POST"],
        "describe": schema[OPENAPI_ROUTE]["GET"],
    }


def ask(operation: APIOperation, client: ASGIClient, mode: GenerationMode, *, n_cases: int, at: int = 0) -> int:
    """Ask so many times, each held against the document; how many were asked."""
    asked = []

    @settings(max_examples=n_cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @seed(at)
    @given(
        case=operation.as_strategy(generation_mode=mode),
        key=st.sampled_from([SECRET] * 7 + [PUBLISHABLE, "a-wrong-key", ""]),
    )
    def one(case: Case, key: str) -> None:
        asked.append(case)
        # Two more requests a case that say the same every time; asked once below.
        case.call_and_validate(
            session=client, headers={"Authorization": f"Bearer {key}"}, excluded_checks=[ignored_auth]
        )

    one()
    return len(asked)


def test_document_is_served_and_is_openapi(operations: dict[str, APIOperation]) -> None:
    schema = operations["personalize"].schema
    schema.validate()
    assert schema.raw_schema == openapi()


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", ["personalize", "expose"])
def test_what_is_answered_is_what_is_documented(
    operations: dict[str, APIOperation], client: ASGIClient, name: str, mode: GenerationMode
) -> None:
    assert ask(operations[name], client, mode, n_cases=N_SHORT) >= N_SHORT


def test_without_a_key_or_with_another_nothing_is_answered(
    operations: dict[str, APIOperation], client: ASGIClient
) -> None:
    case = operations["personalize"].Case(body={"user_id": "u1"}, media_type="application/json")
    headers = {"Authorization": f"Bearer {SECRET}"}
    assert case.call_and_validate(session=client, headers=headers, checks=[ignored_auth]).status_code == 200


def test_token_of_an_answer_is_taken_back_as_documented_and_another_ones_is_refused(
    operations: dict[str, APIOperation], client: ASGIClient
) -> None:
    def post(name: str, **body: object) -> Any:
        case = operations[name].Case(body={"user_id": "u1", **body}, media_type="application/json")
        headers = {"Authorization": f"Bearer {SECRET}"}
        return case.call_and_validate(session=client, headers=headers, excluded_checks=[ignored_auth])

    first, second = post("personalize").json(), post("personalize").json()
    token = first["experiment"]["token"]
    assert post("expose", request_id=first["request_id"], token=token).status_code == 202
    refused = post("expose", request_id=second["request_id"], token=token)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_token")


def test_description_of_itself_is_right(operations: dict[str, APIOperation], client: ASGIClient) -> None:
    assert ask(operations["describe"], client, GenerationMode.POSITIVE, n_cases=5) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("piece", range(N_CASES // N_PER_PIECE))
def test_twenty_thousand_requests_get_documented_answers(
    operations: dict[str, APIOperation], client: ASGIClient, caplog: pytest.LogCaptureFixture, piece: int
) -> None:
    caplog.set_level(logging.CRITICAL)
    mode = MODES[piece % 2]
    assert ask(operations["personalize"], client, mode, n_cases=N_PER_PIECE, at=piece + 1) >= N_PER_PIECE

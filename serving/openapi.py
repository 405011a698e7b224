"""The OpenAPI document of the decision API: what is asked, every answer there is, and what they mean."""

import functools
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from serving.address import EXPOSURE_ROUTE, PREFIX, ROUTE
from serving.requests import (
    EXAMPLE,
    EXPOSURE_EXAMPLE,
    ExposureRequest,
    PersonalizationRequest,
    parse,
    parse_exposure,
)
from serving.schema import ErrorAnswer, ExposureTaken, PersonalizationAnswer

OPENAPI_ROUTE: Final = "/openapi.json"
Node = dict[str, Any]

ABOUT: Final = """What should this person see next? Rules and models answer within 200 ms, whatever is down.

Every answer but 200 is `{"error": {"code", "message", "hint"}}`; so are 404 for a path there is none of and 405, with
`Allow`, for another method. Answers are never to be kept (`Cache-Control: no-store`). Pages may ask from the origins of
`FIRSTMILE_SERVING__CORS_ORIGINS`, without cookies."""

KEYS: Final = """`Authorization: Bearer KEY`. A secret key stays on servers and asks for any user. A publishable key may
stand in a page: it asks for a user with the `user_hash` your server made, or for an anonymous visitor."""

REFUSALS: Final[Mapping[int, str]] = {
    400: "The body is not the JSON that is asked for (`invalid_request`), or broke off (`incomplete_body`).",
    401: "No valid key (`unauthorized`).",
    403: "The key may not ask for this user (`user_not_proven`), or not from a page (`secret_key_in_browser`), or the "
    "token is another answer's (`wrong_token`).",
    408: "The body did not arrive in time (`body_too_slow`), or the head of the request did not (`too_slow`).",
    409: "The answer was another user's (`not_this_users_answer`).",
    413: "The body is too large (`body_too_large`).",
    414: "The address is too long (`address_too_long`).",
    415: "The body is not said to be plain JSON in UTF-8 (`unsupported_media_type`).",
    429: "Too many requests of this address, key or user (`too_many_requests`), or exposures (`too_many_exposures`).",
    431: "The headers are too large (`headers_too_large`).",
}
HEADERS: Final[Mapping[int, Node]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    429: {
        "Retry-After": {
            "required": True,
            "description": "seconds",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
CONFLICT: Final = 409
OF_THE_SERVER: Final = (400, 408, 414, 431)
"""Refusals of the HTTP server itself, whatever is asked."""


@functools.cache
def openapi() -> Node:
    """The document, as JSON has it."""
    schemas = _schemas()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Firstmile decision API", "version": version("firstmile"), "description": ABOUT},
        "servers": [{"url": PREFIX}],
        "paths": {
            ROUTE: {"post": _personalization()},
            EXPOSURE_ROUTE: {"post": _exposure()},
            OPENAPI_ROUTE: {"get": _description()},
        },
        "components": {
            "schemas": schemas,
            "responses": {str(status): _refusal(status) for status in REFUSALS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": KEYS}},
        },
    }


def _personalization() -> Node:
    answered = {"200": {"description": "The answer; it always comes.", "content": _json("PersonalizationAnswer")}}
    example = parse(EXAMPLE.encode()).model_dump(exclude_none=True)
    return _asked("personalize", "What a user should see next", "PersonalizationRequest", example, answered)


def _exposure() -> Node:
    taken = {"202": {"description": "It is taken; saying it again changes nothing.", "content": _json("ExposureTaken")}}
    taken |= _refusals(CONFLICT)
    example = parse_exposure(EXPOSURE_EXAMPLE.encode()).model_dump(exclude_none=True)
    return _asked("expose", "An answer was shown to its user", "ExposureRequest", example, taken)


def _asked(name: str, summary: str, schema: str, example: Node, answers: Node) -> Node:
    return {
        "operationId": name,
        "summary": summary,
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _schema_of(schema), "example": example}},
        },
        "responses": {**answers, **_refusals(*(status for status in REFUSALS if status != CONFLICT))},
    }


def _description() -> Node:
    return {
        "operationId": "describe",
        "summary": "This document",
        "responses": {
            "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}},
            **_refusals(*OF_THE_SERVER),
        },
    }


def _refusals(*statuses: int) -> Node:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _refusal(status: int) -> Node:
    headers = {"headers": HEADERS[status]} if status in HEADERS else {}
    return {"description": REFUSALS[status], "content": _json("ErrorAnswer"), **headers}


def _json(name: str) -> Node:
    return {"application/json": {"schema": _schema_of(name)}}


def _schema_of(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> Node:
    models = (PersonalizationRequest, PersonalizationAnswer, ExposureRequest, ExposureTaken, ErrorAnswer)
    _, found = models_json_schema([(m, "validation") for m in models], ref_template="#/components/schemas/{model}")
    schemas: Node = found["$defs"]
    return schemas

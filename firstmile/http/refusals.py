"""Refuses a request: an HTTP status, and code, message and hint for whoever sent it."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from firstmile.errors import FirstmileError

SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""On every answer: it is one person's and of this moment."""


class RefusalError(FirstmileError):
    """A request that is not answered: HTTP status, and code, message and hint for whoever sent it.

    extra
        What the answer holds beside the error.
    """

    def __init__(
        self,
        status: int,
        code: str,
        *,
        message: str,
        hint: str,
        headers: dict[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = headers
        self.extra = extra or {}

    def as_json(self) -> dict[str, str]:
        """The form that every error of both APIs has."""
        return {"code": self.code, "message": self.message, "hint": self.hint}

    def response(self) -> Response:
        """As HTTP answer."""
        return json_response({"error": self.as_json(), **self.extra}, status=self.status, headers=self.headers)


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(
        orjson.dumps(body), status, headers={**SAFE_HEADERS, **(headers or {})}, media_type="application/json"
    )

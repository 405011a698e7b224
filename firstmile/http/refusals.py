"""Refuses a request: an HTTP status, and code, message and hint for whoever sent it."""

from typing import Any

import orjson
from starlette.responses import Response

from firstmile.errors import FirstmileError

SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""On every answer: it is one person's and of this moment."""


class RefusalError(FirstmileError):
    """A request that is not answered: HTTP status, and code, message and hint for whoever sent it."""

    def __init__(
        self, status: int, code: str, *, message: str, hint: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = headers

    def response(self) -> Response:
        """As HTTP answer."""
        error = {"code": self.code, "message": self.message, "hint": self.hint}
        return json_response({"error": error}, status=self.status, headers=self.headers)


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(
        orjson.dumps(body), status, headers={**SAFE_HEADERS, **(headers or {})}, media_type="application/json"
    )

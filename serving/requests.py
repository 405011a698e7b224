"""The request of the decision API, and every way of refusing one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.responses import Response

from firstmile.errors import FirstmileError

Id = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(max_length=512)]

EXAMPLE = '{"user_id": "u17", "context": {"page": "/welcome"}, "limit": 5}'


@dataclass(frozen=True)
class Ask:
    """A validated request, as the ladder takes it."""

    user_id: str
    anonymous_id: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    limit: int = 5
    explain: bool = False


class RequestContext(BaseModel):
    """Where the page is shown. Fields that are not known are left aside."""

    model_config = ConfigDict(extra="ignore", strict=True)

    page: Text | None = None
    locale: Text | None = None
    device: Text | None = None
    os: Text | None = None
    browser: Text | None = None
    country: Text | None = None
    campaign: Text | None = None
    referrer: Text | None = None
    connection: Text | None = None


class PersonalizationRequest(BaseModel):
    """The body of POST /api/personalization."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user_id: Id
    anonymous_id: Id | None = None
    context: RequestContext | None = None
    limit: int = Field(5, ge=1, le=50)
    explain: bool = False

    def ask(self) -> Ask:
        """As the ladder takes it."""
        context = self.context.model_dump(exclude_none=True) if self.context else {}
        return Ask(self.user_id, self.anonymous_id, context, self.limit, self.explain)


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
    return Response(orjson.dumps(body), status, headers=headers, media_type="application/json")


def parse(body: bytes) -> Ask:
    """A validated request. Raises RefusalError (400) naming the first wrong field."""
    try:
        return PersonalizationRequest.model_validate_json(body).ask()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise RefusalError(
            400, "invalid_request", message=f"{where}: {first['msg']}", hint=f"send JSON like {EXAMPLE}"
        ) from None

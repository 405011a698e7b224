"""The request of the decision API, and every way of refusing one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.responses import Response

from firstmile.errors import FirstmileError
from serving.strict_json import JsonError, read_json

Id = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$")]

EXAMPLE = '{"user_id": "u17", "context": {"page": "/welcome"}, "limit": 5}'
MAX_ECHO = 100
"""Of what somebody sent, in a message to him."""
SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""On every answer: it is one person's and of this moment."""


@dataclass(frozen=True)
class Ask:
    """A validated request, as the ladder takes it."""

    user_id: str
    anonymous_id: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    limit: int = 5


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


class AboutUser(BaseModel):
    """A body that is about a user, or about a visitor of whom only the anonymous_id is known."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}} for name in ("user_id", "anonymous_id")
            ]
        },
    )

    user_id: Id | None = Field(None, description="as your events say it")
    user_hash: Hash | None = Field(
        None, description="hex HMAC-SHA256(identity secret, user_id), made by your server; publishable keys need it"
    )
    anonymous_id: Id | None = Field(
        None, description="the visitor's, as your events say it; with a publishable key `anon_` and a random UUID"
    )

    @property
    def row_id(self) -> str:
        """Whose row it is: until a visitor says who he is, it is under his anonymous_id."""
        return self.user_id or self.anonymous_id or ""


class PersonalizationRequest(AboutUser):
    """The body of POST /api/personalization."""

    context: RequestContext | None = None
    limit: int = Field(5, ge=1, le=50, description="how many recommendations at most")

    def ask(self) -> Ask:
        """As the ladder takes it."""
        context = self.context.model_dump(exclude_none=True) if self.context else {}
        return Ask(self.row_id, self.anonymous_id, context, self.limit)


Form = TypeVar("Form", bound=AboutUser)


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


def parse(body: bytes, form: type[Form]) -> Form:
    """A validated body of this form. Raises RefusalError (400) naming the first wrong field."""
    try:
        wanted = form.model_validate(read_json(body))
    except JsonError as error:
        raise _invalid(f"body: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:MAX_ECHO] or "body"
        raise _invalid(f"{where}: {first['msg']}") from None
    if not wanted.row_id:
        raise _invalid("user_id: is missing, and so is anonymous_id; one of them must be given")
    return wanted


def _invalid(message: str) -> RefusalError:
    return RefusalError(400, "invalid_request", message=message, hint=f"send JSON like {EXAMPLE}")

"""The request of the decision API, validated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from firstmile.http.refusals import RefusalError
from firstmile.ids import GREATEST, MAX_ID_CHARS, SMALLEST, optional_id
from serving.strict_json import JsonError, read_json

MAX_TEXT = 512
CONTROL = "\\x00-\\x1f\\x7f-\\x9f\\ufffd"
SAID: JsonDict = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "\\S"}]}
"""An id that is not blank, as JSON Schema has it."""
ID_SCHEMA: JsonDict = {
    "anyOf": [
        {
            "type": "string",
            "maxLength": MAX_ID_CHARS,
            "pattern": rf"^\s*([^\s{CONTROL}]([^{CONTROL}]*[^\s{CONTROL}])?\s*)?$",
        },
        {"type": "integer", "minimum": SMALLEST, "maximum": GREATEST},
        {"type": "null"},
    ]
}
"""Blanks around an id are not part of it, and blanks alone are none."""
Id = Annotated[str | None, BeforeValidator(optional_id), WithJsonSchema(ID_SCHEMA)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$"), AfterValidator(lambda text: text[:MAX_TEXT])]
"""Of the context: what is longer is cut, since a page does not choose how long a referrer is."""
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{24}([A-Za-z0-9_-]{4})*[A-Za-z0-9_-]{2,4}$")]
"""Base64url without padding, of an exposure token's 18 bytes and two or more (exposure_tokens.py)."""
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$")]

EXAMPLE = '{"user_id": "u17", "context": {"page": "/welcome"}, "limit": 5}'
EXPOSURE_EXAMPLE = (
    '{"request_id": "0123456789abcdef0123456789abcdef", "user_id": "u17", '
    '"token": "iZoh7syRLQGXYud6e-XkVFaDb25ib2FyZGluZy12MQpjaGFtcGlvbg"}'
)
MAX_ECHO = 100
"""Of what somebody sent, in a message to him."""

Wanted = TypeVar("Wanted", bound="Identified")


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


class Identified(BaseModel):
    """Whom a request is about: a user, or a visitor of whom only the anonymous_id is known."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "anyOf": [{"required": [name], "properties": {name: SAID}} for name in ("user_id", "anonymous_id")]
        },
    )

    user_id: Id = Field(None, description="as your events say it; 17 and 17.0 are the text `17`")
    user_hash: Hash | None = Field(
        None, description="hex HMAC-SHA256(identity secret, user_id), made by your server; publishable keys need it"
    )
    anonymous_id: Id = Field(
        None, description="the visitor's, as your events say it; with a publishable key `anon_` and a random UUID"
    )

    @property
    def subject(self) -> str:
        """Whose row it is: until a visitor says who he is, it is under his anonymous_id."""
        return self.user_id or self.anonymous_id or ""


class PersonalizationRequest(Identified):
    """The body of POST /api/personalization."""

    context: RequestContext | None = None
    limit: int = Field(5, ge=1, le=50, description="how many recommendations at most")
    explain: bool = Field(False, description="say what moved the scores most")

    def ask(self) -> Ask:
        """As the ladder takes it."""
        context = self.context.model_dump(exclude_none=True) if self.context else {}
        return Ask(self.subject, self.anonymous_id, context, self.limit, self.explain)


class ExposureRequest(Identified):
    """The body of POST /api/exposure: the page has shown an answer."""

    request_id: str = Field(pattern=r"^[0-9a-f]{32}$", description="the answer's")
    token: Token | None = Field(
        None, description="the answer's `experiment.token`; without it the arm may have to be drawn again"
    )


def parse(body: bytes) -> PersonalizationRequest:
    """A validated request. Raises RefusalError (400) naming the first wrong field."""
    return _parsed(PersonalizationRequest, body, EXAMPLE)


def parse_exposure(body: bytes) -> ExposureRequest:
    """A validated acknowledgement. Raises RefusalError (400) naming the first wrong field."""
    return _parsed(ExposureRequest, body, EXPOSURE_EXAMPLE)


def _parsed(kind: type[Wanted], body: bytes, example: str) -> Wanted:
    try:
        wanted = kind.model_validate(read_json(body))
    except JsonError as error:
        raise _invalid(f"body: {error}", example) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:MAX_ECHO] or "body"
        raise _invalid(f"{where}: {first['msg']}", example) from None
    if not wanted.subject:
        raise _invalid("user_id: is missing, and so is anonymous_id; one of them must be given", example)
    return wanted


def _invalid(message: str, example: str) -> RefusalError:
    return RefusalError(400, "invalid_request", message=message, hint=f"send JSON like {example}")

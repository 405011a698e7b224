"""The body of a decision request: plain JSON within the limits of the settings."""

from typing import Final

from starlette.requests import Request

from firstmile.http.bodies import read_bytes
from firstmile.http.refusals import RefusalError
from firstmile.setting_sections import ServingSettings

UTF_8: Final = ("utf-8", "utf8", "")


async def read_body(request: Request, settings: ServingSettings) -> bytes:
    """The whole body. Raises RefusalError: 415 for another kind, 413 too large, 408 too slow, 400 broken off."""
    _check_kind(request)
    return await read_bytes(request, max_bytes=settings.max_body_bytes, timeout_ms=settings.body_timeout_ms)


def _check_kind(request: Request) -> None:
    kind, *parameters = request.headers.get("content-type", "application/json").lower().split(";")
    said = {name.strip(): value.strip(' "') for name, _, value in (each.partition("=") for each in parameters)}
    is_json = kind.strip() == "application/json" and said.get("charset", "utf-8") in UTF_8
    if not is_json or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusalError(
            415,
            "unsupported_media_type",
            message="the body is not said to be plain JSON in UTF-8",
            hint="send `Content-Type: application/json`, and no Content-Encoding",
        )

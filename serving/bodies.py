"""The body of a request, read within limits of size and time; nothing is held for one that comes slowly."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from firstmile.http.refusals import RefusalError
from firstmile.setting_sections import ServingSettings


async def read_body(request: Request, settings: ServingSettings) -> bytes:
    """The whole body. Raises RefusalError: 415 for another kind, 413 too large, 408 too slow, 400 broken off."""
    _check_kind(request)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > settings.max_body_bytes:
        raise _too_large(settings.max_body_bytes)
    try:
        async with asyncio.timeout(settings.body_timeout_ms / 1_000):
            return await _whole(request, settings.max_body_bytes)
    except TimeoutError:
        raise RefusalError(
            408,
            "body_too_slow",
            message=f"the body did not arrive within {settings.body_timeout_ms:g} ms",
            hint="send it again, in one piece with the headers",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise RefusalError(
            400, "incomplete_body", message="the body did not arrive whole", hint="send it again"
        ) from None


def _check_kind(request: Request) -> None:
    kind, _, parameters = request.headers.get("content-type", "application/json").lower().partition(";")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    is_json = kind.strip() == "application/json" and charset in ("", "utf-8")
    if not is_json or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusalError(
            415,
            "unsupported_media_type",
            message="the body is not said to be plain JSON in UTF-8",
            hint="send `Content-Type: application/json`, and no Content-Encoding",
        )


async def _whole(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> RefusalError:
    return RefusalError(
        413,
        "body_too_large",
        message=f"a body may have {max_bytes} bytes",
        hint="send only what the API asks for",
    )

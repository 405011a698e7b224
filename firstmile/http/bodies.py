"""Reads a request's body within limits of size and time: nothing is held for one that comes slowly."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from firstmile.http.refusals import RefusalError

MAX_DIGITS: Final = 18
"""Of a declared length: turning many into a number takes long, and the first ones say that it is too much."""


async def read_bytes(request: Request, *, max_bytes: int, timeout_ms: float) -> bytes:
    """The whole body. Raises RefusalError: 413 too large, 408 too slow, 400 broken off."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:MAX_DIGITS]) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(timeout_ms / 1_000):
            return await _whole(request, max_bytes)
    except TimeoutError:
        raise RefusalError(
            408,
            "body_too_slow",
            message=f"the body did not arrive within {timeout_ms:g} ms",
            hint="send it again, in one piece with the headers",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise RefusalError(
            400, "incomplete_body", message="the body did not arrive whole", hint="send it again"
        ) from None


async def _whole(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> RefusalError:
    return RefusalError(413, "body_too_large", message=f"a body may have {max_bytes} bytes", hint="send less at once")

"""A request to the collector, before its events are looked at: who may write, and what a body may be."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request

from firstmile.errors import FirstmileError
from firstmile.setting_sections import CollectorSettings
from pipelines.call_fields import CallError


class RefusedError(FirstmileError):
    """A request answered with an error: the status, the error's JSON form, and what the answer holds besides."""

    def __init__(self, status: int, error: CallError, **extra: Any) -> None:
        super().__init__(error.message)
        self.status, self.error, self.extra = status, error, extra


async def read_body(request: Request, settings: CollectorSettings) -> dict[str, Any]:
    """The JSON object of an authorized request.

    Raises RefusedError: 401 without the write key, 413 when the body is too large, 400 when it is no JSON object.
    """
    key = _header_key(request)
    if key is not None:
        _authorize(settings, key)
    body = _parse(await _read(request, settings.max_body_bytes))
    if key is None:
        _authorize(settings, body.get("writeKey"))
    return body


def batch_calls(body: Mapping[str, Any], settings: CollectorSettings) -> list[Any]:
    """The events of a batch. Raises RefusedError: 400 when there are none, 413 when there are too many."""
    calls = body.get("batch")
    if not isinstance(calls, list) or not calls:
        raise RefusedError(400, CallError("bad_batch", "`batch` is not a list of events", "send at least one event"))
    if len(calls) > settings.max_batch_events:
        message = f"the batch has {len(calls)} events, at most {settings.max_batch_events} are taken"
        raise RefusedError(413, CallError("too_many_events", message, "send smaller batches"))
    return calls


def _header_key(request: Request) -> str | None:
    """The write key of the Authorization header: Bearer, or the user name of Basic; None when there is no header."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0] if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _authorize(settings: CollectorSettings, key: Any) -> None:
    expected = settings.write_key.get_secret_value()
    if not isinstance(key, str) or not hmac.compare_digest(key.encode(), expected.encode()):
        hint = "send it as the user name of HTTP Basic, as `Authorization: Bearer KEY` or as `writeKey` in the body"
        raise RefusedError(401, CallError("bad_write_key", "the write key is missing or wrong", hint))


async def _read(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    is_small = not declared.isdigit() or int(declared) <= max_bytes
    body = bytearray()
    if is_small:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                break
        else:
            return bytes(body)
    raise RefusedError(413, CallError("too_large", f"the body is larger than {max_bytes} bytes", "send less at once"))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, CallError("bad_json", f"the body is not JSON: {error}", "send UTF-8 JSON")) from None
    if not isinstance(parsed, dict):
        message = f"the body is a {type(parsed).__name__}, not an object"
        raise RefusedError(400, CallError("bad_json", message, "send a JSON object"))
    return parsed

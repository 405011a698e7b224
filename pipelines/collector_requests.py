"""The body of a request to the collector, before its events are looked at."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import orjson

from firstmile.setting_sections import CollectorSettings
from pipelines.call_fields import CallError, shown

MAX_DIGITS: Final = 400
"""Of a whole number: a longer one is infinite as JSON's readers have it."""


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises CallError when it is none.

    One odd value costs no call: half a surrogate pair and bytes that are no UTF-8 become U+FFFD, NaN and numbers beyond
    all bounds null; a byte order mark is left aside.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = _tolerant(body)
    if not isinstance(parsed, dict):
        message = f"the body is a {type(parsed).__name__}, not an object"
        raise CallError("bad_json", message, "send a JSON object")
    return parsed


def batch_calls(body: Mapping[str, Any], settings: CollectorSettings) -> list[Any]:
    """The events of a batch. Raises CallError: 400 when there is no list of them, 413 when there are too many."""
    calls = body.get("batch")
    if not isinstance(calls, list):
        raise CallError("bad_batch", f"`batch` is {shown(calls)}, not a list of events", "send a list of events")
    if len(calls) > settings.max_batch_events:
        message = f"the batch has {len(calls)} events, at most {settings.max_batch_events} are taken"
        raise CallError("too_many_events", message, "send smaller batches", status=413)
    return calls


def _tolerant(body: bytes) -> Any:
    """What a stricter reader refuses, put right. Raises CallError for what is no JSON all the same."""
    try:
        found = _decode(body.decode("utf-8-sig", "replace"))
        # Written again with whole characters: half a pair joins or is lost, and the first reader takes the rest.
        text = json.dumps(found, ensure_ascii=False).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return orjson.loads(text)
    except RecursionError:
        raise CallError("bad_json", "the body is nested too deep", "send it flatter") from None
    except ValueError as error:
        raise CallError("bad_json", f"the body is not JSON: {error}", "send UTF-8 JSON") from None


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= MAX_DIGITS and math.isfinite(float(text)) else None


def _float(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


_decode = json.JSONDecoder(strict=False, parse_int=_whole, parse_float=_float, parse_constant=lambda text: None).decode

"""The body of a request to the collector, before its events are looked at."""

from collections.abc import Mapping
from typing import Any

import orjson

from firstmile.setting_sections import CollectorSettings
from pipelines.call_fields import CallError


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises CallError when it is none."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CallError("bad_json", f"the body is not JSON: {error}", "send UTF-8 JSON") from None
    if not isinstance(parsed, dict):
        raise CallError("bad_json", f"the body is a {type(parsed).__name__}, not an object", "send a JSON object")
    return parsed


def batch_calls(body: Mapping[str, Any], settings: CollectorSettings) -> list[Any]:
    """The events of a batch. Raises CallError: 400 when there are none, 413 when there are too many."""
    calls = body.get("batch")
    if not isinstance(calls, list) or not calls:
        raise CallError("bad_batch", "`batch` is not a list of events", "send at least one event")
    if len(calls) > settings.max_batch_events:
        message = f"the batch has {len(calls)} events, at most {settings.max_batch_events} are taken"
        raise CallError("too_many_events", message, "send smaller batches", status=413)
    return calls

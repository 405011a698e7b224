"""The fields of a tracking call, read one by one: each as the type we need, or a CallError naming it."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from firstmile.http.refusals import RefusalError

MAX_TEXT_CHARS: Final = 256
"""Of ids and event names."""


class CallError(RefusalError):
    """A call nobody can use: `code` for programs, `message` what was wrong, `hint` what to do."""

    def __init__(self, code: str, message: str, hint: str, *, status: int = 400) -> None:
        super().__init__(status, code, message=message, hint=hint)


def id_of(call: Mapping[str, Any], field: str) -> str | None:
    """An id as text, None when it is absent or empty."""
    value = call.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT_CHARS:
        raise CallError(
            "bad_id", f"{field} {value!r:.60} is not an id", f"send text of 1 to {MAX_TEXT_CHARS} characters"
        )
    return value


def name_of(call: Mapping[str, Any], default: str | None) -> str:
    """The event's name; `default` when it has none (None: it must have one)."""
    name = call.get("event")
    if name is None and default is not None:
        return default
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_TEXT_CHARS:
        raise CallError(
            "bad_event_name",
            f"event {name!r:.60} is not a name",
            f"send `event`: text of 1 to {MAX_TEXT_CHARS} characters, for example 'Form Submitted'",
        )
    return name


def object_of(call: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """A JSON object, empty when it is absent."""
    value = call.get(field)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CallError(
            f"bad_{field}", f"{field} is a JSON object, not {type(value).__name__}", f"send {field} as an object"
        )
    return value


def as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as texts: nulls left out, lists and objects as JSON.

    >>> as_texts({"a": "x", "b": 2, "c": True, "d": None, "e": [1]})
    {'a': 'x', 'b': '2', 'c': 'true', 'e': '[1]'}
    """
    return {
        str(name): value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in values.items()
        if value is not None
    }

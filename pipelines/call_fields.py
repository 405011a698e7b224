"""The fields of a tracking call, read one by one: each as the type we need, or a CallError naming it."""

import reprlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from firstmile.http.refusals import RefusalError
from firstmile.ids import HINT, IdError, id_text
from pipelines.notes import Note, listed

MAX_NAME_CHARS: Final = 256
MAX_WHOLE: Final = 1 << 64
"""Floats below it are written as the whole numbers they are: JSON has one kind of number, 17.0 is 17."""


class CallError(RefusalError):
    """A call nobody can use: `code` for programs, `message` what was wrong, `hint` what to do."""

    def __init__(self, code: str, message: str, hint: str, *, status: int = 400) -> None:
        super().__init__(status, code, message=message, hint=hint)


def id_of(call: Mapping[str, Any], field: str) -> str | None:
    """An id as text, None when it is absent or blank. Raises CallError when it is no id."""
    try:
        return id_text(call.get(field))
    except IdError as error:
        raise CallError(error.code, f"{field}: {error}", HINT) from None


def name_of(call: Mapping[str, Any], default: str | None) -> str:
    """The event's name; `default` when it has none (None: it must have one)."""
    name = call.get("event")
    if name is None and default is not None:
        return default
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_CHARS:
        raise CallError(
            "bad_event_name",
            f"event {shown(name)} is not a name",
            f"send `event`: text of 1 to {MAX_NAME_CHARS} characters, for example 'Form Submitted'",
        )
    return plain(name)


def shown(value: Any) -> str:
    """A value as a message shows it: of bounded length, however deep it is nested."""
    return f"{reprlib.repr(value):.60}"


def plain(text: str) -> str:
    """A text without NUL, which ends texts in much software behind us."""
    return text.replace("\x00", "\ufffd")


def object_of(call: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """A JSON object, empty when it is absent or an empty list: PHP writes an empty object so."""
    value = call.get(field)
    if value is None or value == []:
        return {}
    if not isinstance(value, Mapping):
        raise CallError(
            f"bad_{field}", f"{field} is a JSON object, not {type(value).__name__}", f"send {field} as an object"
        )
    return value


def as_texts(values: Mapping[str, Any], notes: list[Note]) -> dict[str, str]:
    """Values as texts: nulls left out, lists and objects as JSON; what is nested too deep for that is noted.

    >>> as_texts({"a": "x", "b": 2, "c": True, "d": None, "e": [1], "f": 17.0}, [])
    {'a': 'x', 'b': '2', 'c': 'true', 'e': '[1]', 'f': '17'}
    """
    found, deep = {}, []
    for name, value in values.items():
        if value is None:
            continue
        try:
            found[plain(name)] = as_text(value)
        except TypeError:
            deep.append(name)
    if deep:
        notes.append(
            Note("nested_too_deep", f"left out, because it is nested too deep: {listed(deep)}", "send it flat")
        )
    return found


def as_text(value: Any) -> str:
    """One value as text. Raises TypeError when it is nested deeper than a few hundred levels."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_WHOLE:
        value = int(value)
    return orjson.dumps(value).decode()

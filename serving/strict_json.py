"""JSON by the letter of RFC 8259, where other readers choose: nothing that two of them could read in two ways."""

import json
import math
from typing import Any, Final, Never

from firstmile.errors import DataError

MAX_DIGITS: Final = 1_000
"""Of a whole number: turning more into an int takes time that grows with their square."""


class JsonError(DataError):
    """Bytes that are not one JSON text."""


def read_json(body: bytes) -> Any:
    """What the bytes say.

    Raises JsonError also for a key that stands twice, text that is no Unicode, NaN, and numbers or nesting too great to
    be read.

    >>> read_json(b'{"limit": 5.0}')
    {'limit': 5}
    """
    try:
        found = _decode(body.decode())
        if b"\\u" in body:  # only an escape can smuggle in half a pair
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeError:
        raise JsonError("it is not UTF-8, or has half a surrogate pair") from None
    except RecursionError:
        raise JsonError("it is nested too deeply") from None
    except ValueError as error:
        raise JsonError(f"it is not JSON: {error}") from None
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _number(text: str) -> int | float:
    """JSON knows one kind of number: 5.0 is 5."""
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too great")
    return int(value) if value.is_integer() else value


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _no_number(text: str) -> Never:
    raise ValueError(f"{text} is no number")


_decode = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_number, parse_int=_integer, parse_constant=_no_number
).decode

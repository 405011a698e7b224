"""Ids of users, visitors and content: one form, whoever says them, so that one person or item has one.

JSON numbers and texts name the same: 17, 17.0 and "17\\n" are "17".
"""

import re
import reprlib
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from firstmile.errors import DataError

MAX_ID_CHARS: Final = 256
SMALLEST, GREATEST = -(1 << 63), (1 << 64) - 1
"""Of whole numbers: JSON readers lose digits past them."""
PLACEHOLDERS: Final = frozenset(("undefined", "null", "(null)", "NaN", "None", "[object Object]"))
"""What programs write where they have no id: everybody's events would meet under it."""
HINT: Final = f"send text of 1 to {MAX_ID_CHARS} characters without control characters, or a whole number"

# U+FFFD stands where a character was lost: ids that differed there would be one.
_BROKEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


class IdError(DataError):
    """A value that is no id: `code` is bad_id, or placeholder_id for a program's word for nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def id_text(value: Any) -> str | None:
    """An id as text, None when nothing is said: null, or blanks alone.

    Raises IdError when the value is no id.

    >>> [id_text(value) for value in (" u17\\n", 17, 17.0, "", None)]
    ['u17', '17', '17', None, None]
    """
    if value is None:
        return None
    text = _number(value) if isinstance(value, int | float) else value.strip() if isinstance(value, str) else None
    if text is None or len(text) > MAX_ID_CHARS or _BROKEN.search(text):
        raise IdError("bad_id", f"{reprlib.repr(value):.60} is not an id")
    if text in PLACEHOLDERS:
        raise IdError("placeholder_id", f"{text!r} is what a program writes for no value, not an id")
    return text or None


def optional_id(value: Any) -> str | None:
    """As `id_text`. Raises ValueError, as pydantic's validators do."""
    try:
        return id_text(value)
    except IdError as error:
        raise ValueError(f"{error}; {HINT}") from None


def required_id(value: Any) -> str:
    """An id as text. Raises ValueError when the value is none."""
    text = optional_id(value)
    if text is None:
        raise ValueError(f"an id is empty; {HINT}")
    return text


Id = Annotated[str, BeforeValidator(required_id)]
"""A field of a pydantic model that holds an id."""


def _number(value: float) -> str | None:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        return None
    return str(int(value)) if SMALLEST <= value <= GREATEST else None

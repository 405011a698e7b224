"""What a record must keep to be used: held at the collector's door, and where records of any writer are decoded."""

import re
from typing import Final

from feature_repo.activity import MAX_EVENT_MS
from feature_repo.row import EARLIEST_MS

MAX_RECORD_BYTES: Final = 65_536
EARLIEST_US: Final = EARLIEST_MS * 1_000
LATEST_US: Final = MAX_EVENT_MS * 1_000
MAX_AHEAD_US: Final = 86_400_000_000
"""A record received more than a day after Kafka had it was stamped by a broken clock."""

ONBOARDING_AT: Final = "onboarding_at"
"""Property that says when the user's onboarding began, µs since epoch."""
MAX_ONBOARDING_AHEAD_US: Final = 366 * 86_400_000_000
"""Who signs up may do so for a start to come; a year is more than any of them waits."""
UNUSABLE: Final = -1
"""In the place of an onboarding_us that says no possible time; it is counted and left out."""
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)


def whole(text: str | None) -> int | None:
    """A whole number of 64 bits as a text says it, None when it says none.

    >>> [whole(text) for text in (" 17 ", "-1", "1.5", "", None, "9" * 19)]
    [17, -1, None, None, None, None]
    """
    found = _WHOLE.fullmatch((text or "").strip())
    number = int(found[0]) if found else None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else None


def onboarding_us(text: str | None, received_us: int) -> int | None:
    """When an onboarding began, as the property says it; None when nothing is said, UNUSABLE for no possible time:
    before 2005 (as seconds and milliseconds are, read as µs) or over a year after the record was received.

    >>> now = 1_795_650_000_000_000
    >>> [onboarding_us(text, now) for text in ("1795650000000000", None, " ", "²", "1795650000000", "9" * 18)]
    [1795650000000000, None, None, -1, -1, -1]
    """
    if not (text or "").strip():
        return None
    said = whole(text)
    is_possible = said is not None and EARLIEST_US <= said <= received_us + MAX_ONBOARDING_AHEAD_US
    return said if is_possible else UNUSABLE

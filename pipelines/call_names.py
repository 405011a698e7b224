"""The kinds of tracking calls, the doors they are posted to, and the names of events that a call need not say."""

from typing import Final

DEFAULT_NAMES: Final = {
    "page": "Page Viewed",
    "screen": "Screen Viewed",
    "identify": "identify",
    "group": "group",
    "alias": "alias",
}
"""A page may be named otherwise by `event`; a screen's `event` is which screen, of RudderStack's clients."""
TYPES: Final = ("track", "log", *DEFAULT_NAMES)
CONTEXT_OBSERVED: Final = "Context Observed"

BATCH: Final = "batch"
DOORS: Final = {
    **dict.fromkeys(("batch", "import", "b"), BATCH),
    **{kind[:n]: kind for kind in ("track", *DEFAULT_NAMES) for n in (1, None)},
}
"""Last part of an address → what is posted there, a batch or one call: /v1/track and /v1/t."""


def name_is_fixed(kind: str) -> bool:
    """Whether a call of this kind is named by its kind alone.

    >>> [name_is_fixed(kind) for kind in ("track", "page", "screen", "alias")]
    [False, False, True, True]
    """
    return kind in DEFAULT_NAMES and kind != "page"

"""The kinds of tracking calls, and the names of events that a call need not say."""

from typing import Final

TYPES: Final = ("track", "page", "identify", "log")
DEFAULT_NAMES: Final = {"page": "Page Viewed", "identify": "identify"}
CONTEXT_OBSERVED: Final = "Context Observed"

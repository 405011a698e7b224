"""Names of the views and of their fields. Apart from views.py so that who only names them does not load Feast."""

from firstmile.vocabulary import PROFILE as WORDS

ACTIVITY, PROFILE, CONTEXT, AUDIT, WINDOWS = (
    "user_activity",
    "user_profile",
    "user_context",
    "user_audit",
    "activity_windows",
)

CONTENT = "content_stats"
"""About content, not users: see pipelines/content.py for what is counted."""
CONTENT_COUNTS = (
    "n_shown",
    "n_opened",
    "n_completed",
    "n_skipped",
    "n_helpful",
    "n_unhelpful",
    "opened_weight",
)
"""Totals over all segments. The order is that of the lists in `by_segment`: append only."""
BY_SEGMENT = "by_segment"
"""JSON: `{"unknown/active": [n_shown, n_opened, …], …}`."""
OPENINGS = "openings"
"""JSON: `[[known_us, n_opened], …]` of the last days; only in an item's last row. See content_earlier."""

PROFILE_STRINGS = WORDS.of_kind("text")
PROFILE_INTEGERS, PROFILE_REALS = WORDS.of_kind("integer"), WORDS.of_kind("number")
PROFILE_NUMBERS = (*PROFILE_INTEGERS, *PROFILE_REALS)
CONTEXT_STRINGS = ("device", "os", "browser", "locale", "country", "campaign", "referrer", "connection")
PROFILE_TIME, CONTEXT_TIME = "profile_updated_us", "context_observed_us"
PROFILE_TIMES, CONTEXT_TIMES = "profile_times", "context_times"
"""When each of a view's fields was said, for whoever merges: latest.py. No feature."""
PROFILE_FIELDS = (*PROFILE_STRINGS, *PROFILE_NUMBERS, PROFILE_TIME)
CONTEXT_FIELDS = (*CONTEXT_STRINGS, CONTEXT_TIME)

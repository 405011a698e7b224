"""Closed lists that all products share: topics, action families, stages, aliases, rungs. See vocabulary.py too."""

from typing import Final

PROJECT: Final = "firstmile"

# Topics (all keyed by user_id unless said; see pipelines/schemas for the records).
USER_ACTIONS: Final = "onboarding.user-actions"
SYSTEM_LOGS: Final = "onboarding.system-logs"
CONTEXT: Final = "onboarding.context"
PROFILES: Final = "crm.profiles"
DEAD_LETTERS: Final = "onboarding.dead-letters"
REPLAYED: Final = "onboarding.dead-letters-replayed"  # keyed by the dead letter's source position, compacted
ENRICHED: Final = "onboarding.enriched"
DECISIONS: Final = "personalization.decisions"
OUTCOMES: Final = "personalization.outcomes"

EVENT_TOPICS: Final = (USER_ACTIONS, SYSTEM_LOGS, CONTEXT)
STREAM_TOPICS: Final = (*EVENT_TOPICS, PROFILES)
TOPICS: Final = (*STREAM_TOPICS, DEAD_LETTERS, REPLAYED, ENRICHED, DECISIONS, OUTCOMES)

IMPORTED: Final = "import:"
"""Topic ids of events that were imported from files begin so: they were known when they happened."""

# Why a record became a dead letter.
DEAD_LETTER_REASONS: Final = (
    "bad_magic",
    "unknown_schema",
    "undecodable",
    "missing_key",
    "impossible_time",
    "impossible_weight",
    "oversized",
)

# Action families: the closed list for counting. The order is part of the packed row: append only.
FAMILIES: Final = (
    "page_view",
    "click",
    "form_submit",
    "form_error",
    "step_start",
    "step_complete",
    "step_skip",
    "content_open",
    "content_complete",
    "feature_use",
    "help_request",
    "invite",
    "feedback",
    "error",
    "unknown",  # a name no mapping knows: counted, so that it is seen
)

STAGES: Final = ("new", "active", "stalled", "activated")

OPTIONAL: Final = ("preference",)
"""Models an answer is whole without: preferences are then the user's own opens."""
RANKER: Final = "content_ranker"  # answers to many vectors at once; an answer is whole without it
ONLINE_MODEL: Final = "content_open"  # learned from the log by `firstmile learn`; no task, no gate yet
CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"

RUNGS: Final = ("model", "partial", "cached", "rules", "default")


def subject(topic: str) -> str:
    """The schema registry's subject for a topic's values.

    >>> subject(USER_ACTIONS)
    'onboarding.user-actions-value'
    """
    return f"{topic}-value"

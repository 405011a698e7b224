"""The closed lists of the vocabulary: topics, action families, formats, models, aliases, segments."""

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

# Content formats. The order is part of the packed row: append only.
FORMATS: Final = ("community", "document", "guide", "lesson", "quiz", "video", "other")

SKILL_LEVELS: Final = ("beginner", "intermediate", "advanced")
STAGES: Final = ("new", "active", "stalled", "activated")

# The formats a preference is learned for: those OULAD's pages have, in the order of the booster's classes.
LEARNED_FORMATS: Final = ("community", "document", "guide", "lesson", "quiz")

MODELS: Final = ("activation", "disengagement", "skill_level", "preference")
OPTIONAL: Final = ("preference",)
"""Models an answer is whole without: preferences are then the user's own opens."""
CLASSES: Final = {"skill_level": SKILL_LEVELS, "preference": LEARNED_FORMATS}
"""Models with a probability per class, in the booster's order; the others give one, of yes."""
RANKER: Final = "content_ranker"
TRAINED: Final = (*MODELS, RANKER)
"""What `firstmile train` makes; the ranker answers to many vectors at once, and an answer is whole without it."""
ONLINE_MODEL: Final = "content_open"  # learned from the log by `firstmile learn`; no task, no gate yet
CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"

RUNGS: Final = ("model", "partial", "cached", "rules", "default")

# Who a person is: kept in the view `user_audit` alone, joined offline by monitoring, never a model input.
AUDIT_ATTRIBUTES: Final = ("gender", "age_band", "imd_band", "disability", "region", "highest_education")


def subject(topic: str) -> str:
    """The schema registry's subject for a topic's values.

    >>> subject(USER_ACTIONS)
    'onboarding.user-actions-value'
    """
    return f"{topic}-value"

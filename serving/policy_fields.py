"""What the conditions of rules and experiments may look at: what the feature views give."""

from typing import Final

from feature_repo.activity import FEATURE_NAMES
from feature_repo.fields import CONTEXT_STRINGS, PROFILE_NUMBERS, PROFILE_STRINGS
from serving.rules import known_fields

FIELDS: Final = known_fields((*FEATURE_NAMES, *PROFILE_NUMBERS), PROFILE_STRINGS, CONTEXT_STRINGS)

"""What is known of a user when an answer is made: the read row, the request, the models' words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.fields import PROFILE_NUMBERS
from serving.order import Draw, Order

Values = Mapping[str, float | None]
Seen = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Which content hashes, shape (n,), the user has already opened."""

LASTING_PREFIXES = ("opens_", "completes_", "n_")
LASTING_SUFFIXES = ("_total_count", "_total_weight")
LASTING = frozenset({"onboarding_age_days", *PROFILE_NUMBERS})


def nothing_seen(hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For users of whom nothing is known."""
    return np.zeros(len(hashes), bool)


@dataclass(frozen=True)
class Facts:
    """One user at one instant.

    features
        Window and profile features by name; None = not known.
    scores
        Probabilities by model, or `model:class`; empty when no model was asked.
    seen
        What is done: never recommended again.
    order
        Of the user's shelf, None when nothing was learned or counted that says one.
    drawn
        The format that comes before it, None outside an arm that draws one.
    """

    features: Values = field(default_factory=dict)
    profile: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    request: Mapping[str, str] = field(default_factory=dict)
    seen: Seen = nothing_seen
    order: Order | None = None
    drawn: Draw | None = None

    def lasting(self) -> "Facts":
        """Only what is still true when the row is behind: totals (as lower bounds), ages, the profile."""
        return replace(self, features={n: v for n, v in self.features.items() if is_lasting(n)}, scores={})

    def view(self, segment: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """The groups that conditions look at. What the page says of its context goes over what was observed before."""
        return {
            "features": self.features,
            "profile": self.profile,
            "context": {**self.context, **self.request},
            "models": self.scores,
            "request": self.request,
            "segment": segment,
        }


def is_lasting(feature: str) -> bool:
    """Whether a feature of a row that is behind is still true, at least as a lower bound.

    >>> is_lasting("opens_quiz"), is_lasting("content_open_24h_count"), is_lasting("days_since_last_event")
    (True, False, False)
    """
    return feature in LASTING or feature.startswith(LASTING_PREFIXES) or feature.endswith(LASTING_SUFFIXES)

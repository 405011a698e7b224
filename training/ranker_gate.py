"""May this ranker become champion? Pure: figures in, verdicts with reasons out; gates.py has those of all models.

By the figures of the examination that `split.judged_by` names, averaged over the evaluated days: better than putting
what was opened most so far first, and better than what was opened most on the last day. An order that knows nothing of
the user costs nothing to serve, so a ranker that is only as good has no place.
"""

import math
from collections.abc import Mapping
from typing import Final

from training.figures import Figures, mean_over_days
from training.gates import Verdict
from training.ranker_examine import BASELINES
from training.ranking_set import EVALUATED_DAYS

_SAID: Final = {"popularity": "what was opened most so far", "last_day": "what was opened most on the last day"}


def ranker_gate(figures: Mapping[int, Figures]) -> list[Verdict]:
    """A verdict per baseline on a version by its figures per day."""
    value = mean_over_days(figures, "ndcg_at_5", EVALUATED_DAYS)
    return [_verdict(value, mean_over_days(figures, f"ndcg_at_5_{name}", EVALUATED_DAYS), name) for name in BASELINES]


def _verdict(value: float, bound: float, baseline: str) -> Verdict:
    days = ", ".join(map(str, EVALUATED_DAYS))
    text = f"NDCG@5 {value:.4f}, {bound:.4f} by {_SAID[baseline]}; mean of days {days}"
    if math.isnan(value) or math.isnan(bound):
        text = f"a figure is missing or undefined, so nothing is shown: {text}"
    return Verdict(f"better than {baseline.replace('_', ' ')}", value > bound, value, bound, text)

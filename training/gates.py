"""May this version become champion? Pure: figures in, verdicts with reasons out.

First gate, by the figures of the examination that `split.judged_by` names, averaged over the days the task is judged
on: better than always answering with the class shares of training (log loss), and not worse than one column, total
clicks so far (AUC).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from training.figures import Figures, mean_over_days
from training.tasks import TASKS

AUC_TOLERANCE: Final = 0.02
"""How far below one column still counts as not worse: about one standard error of an AUC on a start of this size."""


@dataclass(frozen=True)
class Verdict:
    """One gate's answer.

    value, bound
        What was measured, and what it was held against.
    """

    gate: str
    passed: bool
    value: float
    bound: float
    reason: str


def first_gate(model: str, figures: Mapping[int, Figures]) -> list[Verdict]:
    """Both verdicts on a version by its figures per day."""
    days = TASKS[model].evaluated_days
    named = ", ".join(map(str, days))

    def mean(name: str) -> float:
        return mean_over_days(figures, name, days)

    loss, majority = mean("log_loss"), mean("log_loss_majority")
    auc, column = mean("auc"), mean("auc_one_column")
    return [
        _verdict(
            "better than majority",
            loss,
            majority,
            passed=loss < majority,
            text=f"log loss {loss:.4f}, {majority:.4f} when always answering the class shares; mean of days {named}",
        ),
        _verdict(
            "not worse than one column",
            auc,
            column - AUC_TOLERANCE,
            passed=auc >= column - AUC_TOLERANCE,
            text=f"AUC {auc:.4f}, {column:.4f} by total clicks, {AUC_TOLERANCE} less allowed; mean of days {named}",
        ),
    ]


def all_passed(verdicts: list[Verdict]) -> bool:
    """Whether the version may be promoted; no verdict is a no."""
    return bool(verdicts) and all(v.passed for v in verdicts)


def _verdict(gate: str, value: float, bound: float, *, passed: bool, text: str) -> Verdict:
    if math.isnan(value) or math.isnan(bound):
        return Verdict(gate, False, value, bound, f"a figure is missing or undefined, so nothing is shown: {text}")
    return Verdict(gate, passed, value, bound, text)

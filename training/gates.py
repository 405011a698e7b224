"""May this version become champion? Pure: figures in, verdicts with reasons out.

First gate, by the figures of the examination that `split.judged_by` names, averaged over the days the task is judged
on: better than always answering with the class shares of training (log loss), and not worse than one column, total
clicks so far (AUC). Then: probabilities that mean what they say, an answer in time, and, where there is a champion, not
worse than it and no wider gap between groups of people.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from training.figures import ENDS, Figures, interval_text, mean_over_days

AUC_TOLERANCE: Final = 0.02
"""How far below one column still counts as not worse: about one standard error of an AUC on a start of this size."""


WORSE_BY: Final = 0.02
"""How much AUC (or NDCG) below the champion's is let pass, at the interval's lower end: retraining moves it so far."""
ECE_BOUND: Final = 0.1
"""A perfect model of 350 users has 0.03 to 0.05 by chance alone, in ten bins."""
GAP_GROWTH: Final = 0.1
"""A gap between groups of some 50 people moves by as much when other users are examined."""
LATENCY_BOUND_MS: Final = 5.0
"""Of one answer: the models are asked within the 60 ms that serving gives them, on cores that are shared."""
SIZE_BOUND_BYTES: Final = 5_000_000
"""Ten times today's largest: a poll of serving downloads it between two requests."""


@dataclass(frozen=True)
class Comparison:
    """Challenger − champion in one figure, on rows neither had learned from.

    how
        Which rows, and what stood for the champion.
    """

    champion: str
    how: str
    difference: float
    low: float
    high: float
    figure: str = "AUC"


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


def first_gate(days: Sequence[int], figures: Mapping[int, Figures]) -> list[Verdict]:
    """Both verdicts on a version by its figures per day, on the days its task is judged on."""
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


def ece_gate(days: Sequence[int], figures: Mapping[int, Figures]) -> Verdict:
    """Whether the probabilities are near enough to what came true."""
    found = mean_over_days(figures, "ece", days)
    text = f"expected calibration error {found:.4f}, at most {ECE_BOUND}; mean of days {', '.join(map(str, days))}"
    return _verdict("calibrated", found, ECE_BOUND, passed=found <= ECE_BOUND, text=text)


def cost_gate(metrics: Mapping[str, float]) -> list[Verdict]:
    """Whether an answer is given in time and the booster is small enough, by the run's metrics."""
    took, size = metrics.get("latency_ms", math.nan), metrics.get("size_bytes", math.nan)
    return [
        _verdict(
            "fast enough",
            took,
            LATENCY_BOUND_MS,
            passed=took <= LATENCY_BOUND_MS,
            text=f"{took:.2f} ms for one answer when it was trained, at most {LATENCY_BOUND_MS}",
        ),
        _verdict(
            "small enough",
            size,
            SIZE_BOUND_BYTES,
            passed=size <= SIZE_BOUND_BYTES,
            text=f"{size:,.0f} bytes, at most {SIZE_BOUND_BYTES:,}",
        ),
    ]


def not_worse_gate(found: Comparison) -> Verdict:
    """Whether the challenger is surely not more than WORSE_BY below the champion."""
    text = (
        f"{found.figure} {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}] against champion "
        f"{found.champion}, lower end above -{WORSE_BY} asked; {found.how}"
    )
    return _verdict("not worse than champion", found.low, -WORSE_BY, passed=found.low > -WORSE_BY, text=text)


def no_comparison(model: str, champion: str, why: str) -> Verdict:
    """The refusal when a champion cannot be compared with, and the way out."""
    text = (
        f"there is no comparing with champion {champion}: {why}. To go on without it: firstmile rollback {model}, or "
        "remove the alias champion in the MLflow UI"
    )
    return Verdict("not worse than champion", False, math.nan, -WORSE_BY, text)


def gap_gate(days: Sequence[int], challenger: Mapping[int, Figures], champion: Mapping[int, Figures]) -> Verdict:
    """Whether no gap between groups of an audited attribute grew by more than GAP_GROWTH, on any judged day.

    A champion of which no gap is known, its groups too small or its training older than this gate, holds nobody up.
    """
    if not any(name.startswith("gap_") for day in days for name in champion.get(day, {})):
        text = "no gap of the champion is known, so none can have grown"
        return Verdict("gaps do not grow", True, math.nan, GAP_GROWTH, text)
    mine = {(day, name): v for day in days for name, v in challenger.get(day, {}).items() if _is_gap(name)}
    grown = {at: value - champion[at[0]][at[1]] for at, value in mine.items() if at[1] in champion.get(at[0], {})}
    if not grown:
        return _verdict("gaps do not grow", math.nan, GAP_GROWTH, passed=False, text="no gap is known of both")
    day, name = worst = max(grown, key=lambda at: grown[at])
    before, after = (
        f"{figures[day][name]:.3f}{interval_text(figures[day], name)}" for figures in (champion, challenger)
    )
    new = [f"{n.removeprefix('gap_')} on day {d} ({mine[d, n]:.3f})" for d, n in sorted(mine.keys() - grown.keys())]
    text = f"{name.removeprefix('gap_')} on day {day} grew most, {before} to {after}, {GAP_GROWTH} allowed"
    text += f"; {len(grown)} gaps compared" + (f", new to the champion: {', '.join(new)}" if new else "")
    return _verdict("gaps do not grow", grown[worst], GAP_GROWTH, passed=grown[worst] <= GAP_GROWTH, text=text)


def _is_gap(name: str) -> bool:
    return name.startswith("gap_") and not name.endswith(ENDS)


def all_passed(verdicts: list[Verdict]) -> bool:
    """Whether the version may be promoted; no verdict is a no."""
    return bool(verdicts) and all(v.passed for v in verdicts)


def _verdict(gate: str, value: float, bound: float, *, passed: bool, text: str) -> Verdict:
    if math.isnan(value) or math.isnan(bound):
        return Verdict(gate, False, value, bound, f"a figure is missing or undefined, so nothing is shown: {text}")
    return Verdict(gate, passed, value, bound, text)

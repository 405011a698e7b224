"""One request on its way down the ladder: what it began with, and how its time goes."""

import time
from dataclasses import dataclass
from typing import Final

from serving.experiments import Assignment
from serving.policy import Policy
from serving.ranker import Orders
from serving.requests import Ask

ANSWER_RESERVE_MS: Final = 20.0
"""Kept back for rules, ranking and writing the answer."""


@dataclass
class Timer:
    """One request's time: when it came and how long each stage took, ms."""

    started_s: float
    budget_ms: float
    stage_ms: dict[str, float]

    def elapsed_ms(self) -> float:
        """Since the request came."""
        return (time.perf_counter() - self.started_s) * 1_000

    def left_s(self, at_most_ms: float) -> float:
        """What a stage may take."""
        return min(at_most_ms, self.budget_ms - ANSWER_RESERVE_MS - self.elapsed_ms()) / 1_000


@dataclass(frozen=True)
class Case:
    """One request on its way down: the rules it began with are those it ends with, and so is its arm."""

    ask: Ask
    policy: Policy
    orders: Orders
    assignment: Assignment
    decided_us: int
    timer: Timer

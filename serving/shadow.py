"""Shadow mode: a challenger says what it would have said, after the answer went out; only the decision log hears it.

The decision is logged once its shadow is there, or was late, or failed: in no case does an answer wait or a record stay
away. More shadows than one thread can score are left out, not queued without bound.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from prometheus_client import Counter

from serving.answers import Decision
from serving.models import Question, Scores, score
from serving.stage import Stage, StageError

TIMEOUT_S: Final = 1.0
"""Longer than any model may take; a record should not be away for long."""


class Shadow:
    """Scores shadows in a thread of its own, then hands decisions to `put`. Used from one event loop.

    scored
        Counts by outcome: scored, late, failed or refused.
    """

    def __init__(self, put: Callable[[Decision], object], scored: Counter, *, timeout_s: float = TIMEOUT_S) -> None:
        self._put = put
        self._scored = scored
        self._timeout_s = timeout_s
        self._stage = Stage("shadow", n_threads=1)
        self._waiting: dict[str, tuple[Decision, asyncio.Task[None]]] = {}

    def log(self, decision: Decision) -> None:
        """Log a decision, with its shadow if it is to have one; returns at once."""
        if decision.basis.shadow is None:
            self._put(decision)
            return
        task = asyncio.get_running_loop().create_task(self._score(decision))
        self._waiting[decision.request_id] = decision, task

    def close(self) -> None:
        """Log what still waits without its shadow."""
        self._stage.close()
        for request_id in list(self._waiting):
            self._finish(request_id, None)

    async def _score(self, decision: Decision) -> None:
        shadow = decision.basis.shadow
        assert shadow is not None
        scores, outcome = Scores(), "scored"
        try:
            await self._stage.run(
                lambda: score(Question(shadow.models, shadow.values, scores)), timeout_s=self._timeout_s
            )
        except StageError as error:
            outcome = error.problem
        self._scored.labels(outcome).inc()
        self._finish(decision.request_id, scores if outcome == "scored" else None)

    def _finish(self, request_id: str, scores: Scores | None) -> None:
        decision, _ = self._waiting.pop(request_id, (None, None))
        if decision is None:
            return
        self._put(decision if scores is None else shadowed(decision, scores))


def shadowed(decision: Decision, scores: Scores) -> Decision:
    """The decision with what its shadow said."""
    assert decision.basis.shadow is not None
    versions = {m.name: m.version for m in decision.basis.shadow.models if m.name in scores.answered}
    return replace(decision, shadow_predictions=scores.probabilities, shadow_models=versions)

"""Asking models: the quick ones on the event loop, every other one in threads and behind a breaker of its own.

So a model that hangs or raises costs its own answer, in whatever arm it is, and no other model's.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from serving.facts import Values
from serving.models import Question, Scores, ScoringModel, score
from serving.stage import Problem, Stage, StageError

log = logging.getLogger(__name__)

N_STAGES: Final = 32
"""Versions of models whose threads are kept: a champion and a challenger of each, and those before them."""


class Scoring:
    """Models under deadlines. Used from one event loop.

    n_threads
        Of each model that is not quick.
    """

    def __init__(self, *, n_threads: int) -> None:
        self._n_threads = n_threads
        self._stages: OrderedDict[tuple[str, str], Stage] = OrderedDict()

    async def ask(
        self, models: Sequence[ScoringModel], values: Values, into: Scores, *, timeout_s: float
    ) -> dict[str, Problem]:
        """Ask them all at once for one user; the answers go into `into`, what kept a model from one is returned."""
        if timeout_s <= 0:
            return dict.fromkeys((m.name for m in models), "late")
        # To hand a question to a thread and the answer back costs more than a quick model does.
        problems = _on_the_loop(Question([m for m in models if m.is_quick], values, into))
        slow = [m for m in models if not m.is_quick]
        if slow:
            asked = (self.run(m, _work(m, values, into), timeout_s=timeout_s) for m in slow)
            found = await asyncio.gather(*asked, return_exceptions=True)
            ended = zip(slow, found, strict=True)
            problems |= {m.name: e.problem for m, e in ended if isinstance(e, StageError)}
        return problems

    async def run(self, model: ScoringModel, work: Callable[[], object], *, timeout_s: float) -> None:
        """Work that asks one model, in its threads. Raises StageError when it gives nothing within `timeout_s`."""
        await self._stage(model).run(work, timeout_s=timeout_s)

    def close(self) -> None:
        """Let all threads go."""
        for stage in self._stages.values():
            stage.close()

    def _stage(self, model: ScoringModel) -> Stage:
        key = model.name, model.version
        stage = self._stages.get(key)
        if stage is None:
            stage = self._stages[key] = Stage(f"model {model.name} {model.version}", n_threads=self._n_threads)
        self._stages.move_to_end(key)
        if len(self._stages) > N_STAGES:
            self._stages.popitem(last=False)[1].close()
        return stage


def _on_the_loop(question: Question) -> dict[str, Problem]:
    try:
        score(question)
    except Exception:  # whatever is wrong with a model: the others' answers count, and there are lower rungs
        log.exception("asking the models failed")
    return {m.name: "failed" for m in question.models if m.name not in question.into.answered}


def _work(model: ScoringModel, values: Values, into: Scores) -> Callable[[], object]:
    def work() -> None:
        score(Question([model], values, into))
        if model.name not in into.answered:  # so that its breaker hears of it
            raise ValueError(f"{model.name} {model.version} refused a row")

    return work

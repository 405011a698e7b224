"""The ladder: an answer always comes, from the highest rung that can give one in time.

    model     the row was read and every model answered
    partial   some models did not: no champion, failed, late, or a feature group of theirs is missing
    cached    none did, or no row could be read: the user's last good assessment, through the rules again
    rules     no assessment either: rules over what is known
    default   nothing could be evaluated, or the request was shed

No fault of a dependency is an error here; it is a lower rung and a reason.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from firstmile.clock import Clock
from firstmile.names import FORMATS, MODELS, OPTIONAL
from firstmile.setting_sections import ServingSettings
from serving.answers import SHED, Basis, Decision
from serving.cache import LastGood
from serving.experiments import assign
from serving.facts import Facts
from serving.features import Reader, Reading, Standing, instant_us, read_users, views_of
from serving.gather import Gather
from serving.models import Question, Scores, ScoringModel, score, vector
from serving.policy import Answer, Policy
from serving.requests import Ask
from serving.stage import StageError

log = logging.getLogger(__name__)

ANSWER_RESERVE_MS = 20.0
"""Kept back for rules, ranking and writing the answer."""
REASONS: Mapping[Standing, str] = {
    "behind": "pipeline_lag",
    "lost": "store_loss",
    "unreadable": "row_unreadable",
}


@dataclass(frozen=True)
class Remembered:
    """A user's last good assessment."""

    facts: Facts
    models: Mapping[str, str]


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


class Ladder:
    """Answers requests; used from one event loop."""

    def __init__(
        self,
        settings: ServingSettings,
        policy: Policy,
        *,
        reader: Reader,
        models: Callable[[], Mapping[str, ScoringModel]],
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._models = models
        self._clock = clock
        self._reading = Gather[tuple[str, int], Reading](
            "features", lambda asked: read_users(reader, asked), n_threads=settings.threads
        )
        self._scoring = Gather[Question, Scores]("models", score, n_threads=settings.threads)
        self._last = LastGood[Remembered](n_users=settings.cache_users, max_age_s=settings.cache_max_age_s)
        used = {name for group, name in policy.rules.fields() if group == "features"}
        self._used = sorted(used | {f"opens_{f}" for f in FORMATS})

    async def decide(self, ask: Ask, *, started_s: float) -> Decision:
        """The answer, from the rung that could give it; `started_s` is perf_counter's time of arrival."""
        timer = Timer(started_s, self._settings.budget_ms, {})
        decided_us = self._clock.now_us()
        try:
            facts, basis = await self._assess(ask, decided_us, timer)
            before_ms = timer.elapsed_ms()
            answer = self._policy.answer(facts, limit=ask.limit)
            timer.stage_ms["policy"] = timer.elapsed_ms() - before_ms
        except Exception:  # a request's edge: whatever is wrong with us, the page gets something to show
            log.exception("a decision failed, answering with the default flow")
            answer, basis = self._policy.default(limit=ask.limit), Basis("default", ("internal_error",))
        return self._decision(ask, basis, answer, decided_us=decided_us, timer=timer)

    def shed(self, ask: Ask, *, started_s: float) -> Decision:
        """The default flow at once: more requests are in flight than can be answered in time."""
        timer = Timer(started_s, self._settings.budget_ms, {})
        answer = self._policy.default(limit=ask.limit)
        return self._decision(ask, Basis("default", (SHED,)), answer, decided_us=self._clock.now_us(), timer=timer)

    def close(self) -> None:
        """Let the stages' threads go."""
        self._reading.close()
        self._scoring.close()

    async def _assess(self, ask: Ask, decided_us: int, timer: Timer) -> tuple[Facts, Basis]:
        started_ms = timer.elapsed_ms()
        try:
            reading = await self._reading.ask(
                (ask.user_id, instant_us(decided_us)), timeout_s=timer.left_s(self._settings.feature_timeout_ms)
            )
        except StageError as error:
            return self._without_models(ask, Facts(request=ask.context), Basis("rules", (f"features_{error.problem}",)))
        finally:
            timer.stage_ms["features"] = timer.elapsed_ms() - started_ms
        standing = reading.standing(lag_budget_ms=self._settings.lag_budget_ms)
        facts = reading.facts(ask.context)
        version_us = reading.row.row_version_us if reading.row else None
        basis = Basis("rules", row_version_us=version_us, feature_lag_ms=reading.lag_ms)
        if standing == "new":
            self._last.drop(ask.user_id)
            return facts, replace(basis, reasons=("cold_start",))
        if standing != "known":
            return self._without_models(ask, facts.lasting(), replace(basis, reasons=(REASONS[standing],)))
        return await self._score(ask, reading, facts=facts, basis=basis, timer=timer)

    async def _score(
        self, ask: Ask, reading: Reading, *, facts: Facts, basis: Basis, timer: Timer
    ) -> tuple[Facts, Basis]:
        started_ms = timer.elapsed_ms()
        asked, reasons = fitting(self._models(), facts, reading.missing_views())
        scores, problem = Scores(), "late"
        if asked:
            try:
                await self._scoring.ask(
                    Question(asked, facts.features, scores), timeout_s=timer.left_s(self._settings.model_timeout_ms)
                )
            except StageError as error:
                problem = error.problem
        timer.stage_ms["models"] = timer.elapsed_ms() - started_ms
        # A late thread may still be writing: what counts is what it had finished by now.
        answered = [m for m in asked if m.name in tuple(scores.answered)]
        failed = tuple(scores.failed)
        reasons += [f"model_{'failed' if m.name in failed else problem}:{m.name}" for m in asked if m not in answered]
        if not answered:
            return self._without_models(ask, facts, replace(basis, reasons=tuple(reasons)))
        names = {m.name for m in answered}
        predictions = {key: p for key, p in dict(scores.probabilities).items() if key.partition(":")[0] in names}
        versions = {m.name: m.version for m in answered}
        facts = replace(facts, scores=predictions)
        kept = replace(facts, features={n: facts.features[n] for n in self._used if n in facts.features})
        self._last.put(ask.user_id, Remembered(kept, versions), now_us=self._clock.now_us())
        return facts, replace(
            basis,
            rung="model" if all(r.startswith("cold_start") for r in reasons) else "partial",
            reasons=tuple(reasons),
            predictions=predictions,
            models=versions,
            vector=vector(answered, facts.features),
        )

    def _without_models(self, ask: Ask, facts: Facts, basis: Basis) -> tuple[Facts, Basis]:
        """The cached rung when there is a last good assessment, else the rules rung."""
        last = self._last.get(ask.user_id, now_us=self._clock.now_us())
        # Models taken away, or too old for this user, must not go on answering from memory.
        if last is None or all(r == "no_model" or r.startswith("cold_start") for r in basis.reasons):
            return facts, basis
        if basis.row_version_us is None:  # no row now: what was known then, for this page
            facts = replace(last.facts, request=ask.context)
        elif basis.reasons == (REASONS["behind"],):
            facts = replace(last.facts, request=ask.context, seen=facts.seen)
        else:
            facts = replace(facts, scores=last.facts.scores)
        return facts, replace(basis, rung="cached", predictions=last.facts.scores, models=last.models)

    def _decision(self, ask: Ask, basis: Basis, answer: Answer, *, decided_us: int, timer: Timer) -> Decision:
        return Decision(
            uuid.uuid4().hex,
            ask,
            assign(ask.user_id),
            basis,
            answer,
            decided_us,
            timer.stage_ms,
            timer.elapsed_ms(),
        )


def fitting(
    models: Mapping[str, ScoringModel], facts: Facts, missing_views: frozenset[str]
) -> tuple[list[ScoringModel], list[str]]:
    """The models that can be asked about this user, and why the others cannot.

    A model is not asked about onboardings younger than it was trained on, nor without a feature view it was not gated
    without.
    """
    age_days = facts.features.get("onboarding_age_days")
    asked, reasons = [], []
    for name in MODELS:
        model = models.get(name)
        if model is None:
            reasons += [] if name in OPTIONAL else [f"model_missing:{name}"]
        elif age_days is None or age_days < model.min_onboarding_days:
            reasons.append(f"cold_start:{name}")
        elif lacking := (missing_views & views_of(model.features)) - model.gated_without:
            reasons.append(f"{min(lacking)}_missing:{name}")
        else:
            asked.append(model)
    if not models:
        reasons = ["no_model"]
    elif not asked and all(reason.startswith("cold_start") for reason in reasons):
        reasons = ["cold_start"]
    return asked, reasons

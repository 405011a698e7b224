"""The ladder: an answer always comes, from the highest rung that can give one in time.

    model     the row was read and every model answered
    partial   some models did not: no champion, failed, late, or a feature group of theirs is missing
    cached    none did, or no row could be read: the user's last good assessment, through the rules again
    rules     no assessment either: rules over what is known
    default   nothing could be evaluated, or the request was shed

No fault of a dependency is an error here; it is a lower rung and a reason. The arm of an experiment (experiments.py) is
drawn first and kept on every rung: an arm of rules asks no models, one of the default flow nothing at all.
"""

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from firstmile.clock import Clock
from firstmile.names import CHALLENGER, RANKER
from firstmile.setting_sections import ServingSettings
from serving.answers import SHED, Basis, Decision, Unscored
from serving.arms import DEFAULT_FLOW, RULES, THOMPSON, tasks_of
from serving.cache import LastGood
from serving.case import Case, Timer
from serving.evidence import evidence
from serving.explain import Explainer, Explanation
from serving.facts import Facts
from serving.features import Reader, Reading, Standing, instant_us, read_users
from serving.fitting import fitting, is_as_meant
from serving.format_odds import Odds, draw
from serving.gather import Gather
from serving.models import Scores, ScoringModel
from serving.order import Draw
from serving.playbook import Playbook
from serving.policy import Answer
from serving.ranker import Orders, Standings
from serving.requests import Ask
from serving.scoring import Scoring
from serving.stage import Problem, StageError

log = logging.getLogger(__name__)

REASONS: Mapping[Standing, str] = {
    "behind": "pipeline_lag",
    "lost": "store_loss",
    "unreadable": "row_unreadable",
}


@dataclass(frozen=True)
class Remembered:
    """A user's last good assessment, and the kind of arm it was made in."""

    facts: Facts
    models: Mapping[str, str]
    kind: str


class Ladder:
    """Answers requests; used from one event loop.

    playbook
        Gives the rules and experiments in force.
    models
        Gives the models that answer in an arm of a kind.
    standings, odds
        Give how a catalogue's shelves stand now, and which of their formats may be the best.
    """

    def __init__(
        self,
        settings: ServingSettings,
        playbook: Callable[[], Playbook],
        *,
        reader: Reader,
        models: Callable[[str], Mapping[str, ScoringModel]],
        clock: Clock,
        standings: Standings = lambda catalogue: {},
        odds: Odds = lambda catalogue: {},
    ) -> None:
        self._settings = settings
        self._playbook = playbook
        self._models = models
        self._clock = clock
        self._reading = Gather[tuple[str, int], Reading]("features", partial(read_users, reader))
        self._scoring = Scoring(n_threads=settings.threads)
        self._standings = standings
        self._odds = odds
        self._explainer = Explainer()
        self._last = LastGood[Remembered](n_users=settings.cache_users, max_age_s=settings.cache_max_age_s)

    async def decide(self, ask: Ask, *, started_s: float) -> Decision:
        """The answer, from the rung that could give it; `started_s` is perf_counter's time of arrival."""
        case = self._case(ask, started_s)
        if case.assignment.kind == DEFAULT_FLOW:
            return self._default(case, ())
        try:
            facts, basis = await self._assess(case)
            if basis.reasons == ("cold_start",):
                facts = replace(facts, order=case.orders.popular(facts))
            if case.assignment.kind == THOMPSON:
                facts = replace(facts, drawn=self._draw(case, facts))
            before_ms = case.timer.elapsed_ms()
            answer = case.policy.answer(facts, limit=ask.limit)
            case.timer.stage_ms["policy"] = case.timer.elapsed_ms() - before_ms
        except Exception:  # a request's edge: whatever is wrong with us, the page gets something to show
            log.exception("a decision failed, answering with the default flow")
            return self._default(case, ("internal_error",))
        explanation = await self._explain(case, basis) if ask.explain else None
        grounds = partial(evidence, case.policy, facts, basis)
        return replace(self._decision(case, basis, answer), grounds=grounds, explanation=explanation)

    def shed(self, ask: Ask, *, started_s: float) -> Decision:
        """The default flow at once: more requests are in flight than can be answered in time."""
        return self._default(self._case(ask, started_s), (SHED,))

    def close(self) -> None:
        """Let the stages' threads go."""
        self._scoring.close()
        self._explainer.close()

    def _draw(self, case: Case, facts: Facts) -> Draw | None:
        """The format drawn for this user."""
        shelf = case.policy.shelf(facts)
        odds = self._odds(case.policy.catalogue).get(shelf.cohort)
        return draw(odds, shelf, facts, user_id=case.ask.user_id, now_us=case.decided_us)

    async def _explain(self, case: Case, basis: Basis) -> Explanation:
        timer = case.timer
        started_ms, left_s = timer.elapsed_ms(), timer.left_s(self._settings.model_timeout_ms)
        found = await self._explainer.explain(basis.asked, basis.vector, basis.predictions, timeout_s=left_s)
        timer.stage_ms["explain"] = timer.elapsed_ms() - started_ms
        return found

    def _case(self, ask: Ask, started_s: float) -> Case:
        playbook, decided_us = self._playbook(), self._clock.now_us()
        assignment = playbook.experiments.assign(ask.user_id, ask.context, now_us=decided_us)
        orders, timer = Orders(playbook.policy, self._standings), Timer(started_s, self._settings.budget_ms, {})
        return Case(ask, playbook.policy, orders, assignment, decided_us, timer)

    async def _assess(self, case: Case) -> tuple[Facts, Basis]:
        ask, timer = case.ask, case.timer
        started_ms = timer.elapsed_ms()
        try:
            reading = await self._reading.ask(
                (ask.user_id, instant_us(case.decided_us)), timeout_s=timer.left_s(self._settings.feature_timeout_ms)
            )
        except StageError as error:
            basis = Basis("rules", (f"features_{error.problem}",))
            return self._without_models(case, Facts(request=ask.context), basis)
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
            return self._without_models(case, facts.lasting(), replace(basis, reasons=(REASONS[standing],)))
        if case.assignment.is_shadowed:
            basis = replace(basis, shadow=self._shadow(case, reading, facts))
        if case.assignment.kind == RULES:
            return facts, basis
        return await self._score(case, reading, facts=facts, basis=basis)

    async def _score(self, case: Case, reading: Reading, *, facts: Facts, basis: Basis) -> tuple[Facts, Basis]:
        started_ms = case.timer.elapsed_ms()
        kind = case.assignment.kind
        models = self._models(kind)
        asked, reasons = fitting(
            models,
            facts,
            reading.missing_views(),
            tasks=tasks_of(kind, case.policy.learned),
            not_asked=case.policy.not_asked(facts),
        )
        ranker, why_not = case.orders.ranker(models, facts) if asked else (None, [])
        scores, wanted = Scores(), list(asked)
        problems = await self._scoring.ask(asked, facts.features, scores, timeout_s=self._model_s(case))
        case.timer.stage_ms["models"] = case.timer.elapsed_ms() - started_ms
        if ranker is not None and scores.answered:  # without a model nothing is shown in its order
            wanted.append(ranker)
            problems[RANKER] = await self._rank(case, ranker, facts, scores)
        # A late thread may still be writing: what counts is what it had finished by now.
        done, failed, order = tuple(scores.answered), tuple(scores.failed), scores.order
        answered = [m for m in asked if m.name in done]
        missing = [m.name for m in wanted if m.name not in done]
        reasons += [*why_not, *(f"model_{'failed' if name in failed else problems[name]}:{name}" for name in missing)]
        if not answered:
            return self._without_models(case, facts, replace(basis, reasons=tuple(reasons)))
        names = {m.name for m in answered}
        predictions = {key: p for key, p in dict(scores.probabilities).items() if key.partition(":")[0] in names}
        versions = {m.name: m.version for m in wanted if m.name in done}
        facts = replace(facts, scores=predictions, order=order if RANKER in done else None)
        kept = replace(facts, features={n: facts.features[n] for n in case.policy.used_features if n in facts.features})
        remembered = Remembered(kept, versions, kind)
        self._last.put(case.ask.user_id, remembered, now_us=self._clock.now_us())
        return facts, replace(
            basis,
            rung="model" if all(is_as_meant(r) for r in reasons) else "partial",
            reasons=tuple(reasons),
            predictions=predictions,
            models=versions,
            asked=answered,
            values=facts.features,
        )

    async def _rank(self, case: Case, ranker: ScoringModel, facts: Facts, into: Scores) -> Problem:
        """Ask the ranker too; what is to be said if it gave nothing."""
        started_ms = case.timer.elapsed_ms()
        try:
            await self._scoring.run(
                ranker, lambda: case.orders.rank(ranker, facts, into), timeout_s=self._model_s(case)
            )
        except StageError as error:
            return error.problem
        finally:
            case.timer.stage_ms["ranker"] = case.timer.elapsed_ms() - started_ms
        return "failed"

    def _model_s(self, case: Case) -> float:
        return case.timer.left_s(self._settings.model_timeout_ms)

    def _shadow(self, case: Case, reading: Reading, facts: Facts) -> Unscored | None:
        """The challengers that do not answer this user anyway."""
        answering, others = self._models(case.assignment.kind), self._models(CHALLENGER)
        unseen = {name: model for name, model in others.items() if answering.get(name) is not model}
        tasks = tasks_of(CHALLENGER, case.policy.learned)
        asked, _ = fitting(unseen, facts, reading.missing_views(), tasks=tasks, not_asked=case.policy.not_asked(facts))
        return Unscored(asked, facts.features) if asked else None

    def _without_models(self, case: Case, facts: Facts, basis: Basis) -> tuple[Facts, Basis]:
        """The cached rung when there is a last good assessment by the arm's own models, else the rules rung."""
        last = self._last.get(case.ask.user_id, now_us=self._clock.now_us())
        # Models taken away, or too old for this user, must not go on answering from memory.
        if last is None or all(r == "no_model" or is_as_meant(r) for r in basis.reasons):
            return facts, basis
        if last.kind != case.assignment.kind:
            return facts, basis
        if basis.row_version_us is None:  # no row now: what was known then, for this page
            facts = replace(last.facts, request=case.ask.context)
        elif basis.reasons == (REASONS["behind"],):
            facts = replace(last.facts, request=case.ask.context, seen=facts.seen)
        else:
            facts = replace(facts, scores=last.facts.scores, order=last.facts.order)
        if out := case.policy.not_asked(facts):
            facts = replace(facts, scores={n: p for n, p in facts.scores.items() if n.partition(":")[0] not in out})
        models = {name: version for name, version in last.models.items() if name not in out}
        return facts, replace(basis, rung="cached", predictions=facts.scores, models=models)

    def _default(self, case: Case, reasons: tuple[str, ...]) -> Decision:
        decision = self._decision(case, Basis("default", reasons), case.policy.default(limit=case.ask.limit))
        explanation = Explanation(reason=reasons[0] if reasons else "no_model") if case.ask.explain else None
        return replace(decision, explanation=explanation)

    def _decision(self, case: Case, basis: Basis, answer: Answer) -> Decision:
        return Decision(
            uuid.uuid4().hex,
            case.ask,
            case.assignment,
            basis,
            answer,
            case.decided_us,
            case.timer.stage_ms,
            case.timer.elapsed_ms(),
        )

"""One answer in its two forms: the HTTP response of design.md, and the record of the decision log."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from firstmile.clock import to_datetime
from firstmile.names import RUNGS
from firstmile.vocabulary import MODELS
from firstmile.wire import Record
from serving.experiments import Assignment
from serving.explain import Explanation
from serving.facts import Values
from serving.fitting import is_as_meant
from serving.models import ScoringModel, vector
from serving.policy import Answer
from serving.requests import Ask

OTHERS: Final = frozenset(MODELS) - {"activation", "skill_level", "preference"}
"""The models without a field of their own in the answer."""
SHED: Final = "shed"
"""The reason of an answer that was not decided at all."""


@dataclass(frozen=True)
class Unscored:
    """What a shadow is to say something about: the challengers to ask, and the features they read."""

    models: Sequence[ScoringModel]
    values: Values


@dataclass(frozen=True)
class Basis:
    """What an answer rests on.

    reasons
        Why not a higher rung.
    predictions
        Probabilities by model, or `model:class`.
    models
        Version by model.
    asked
        The models that answered.
    values
        What they were asked about.
    shadow
        What is to be scored after the answer, if anything.
    """

    rung: str
    reasons: tuple[str, ...] = ()
    predictions: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    row_version_us: int | None = None
    feature_lag_ms: float | None = None
    asked: Sequence[ScoringModel] = ()
    values: Values = field(default_factory=dict)
    shadow: Unscored | None = None

    @cached_property
    def vector(self) -> dict[str, float | None]:
        """What the models read, by name; empty when none was asked. Made when somebody wants it, after the answer."""
        return vector(self.asked, self.values)


@dataclass(frozen=True)
class Decision:
    """One answer, whole; what its shadow said comes after it.

    grounds
        What the policy looked at, as fields of the record: asked for when that is made. None: it looked at nothing.
    explanation
        None: nobody asked for one.
    """

    request_id: str
    ask: Ask
    assignment: Assignment
    basis: Basis
    answer: Answer
    decided_us: int
    stage_ms: Mapping[str, float]
    latency_ms: float
    shadow_predictions: Mapping[str, float] = field(default_factory=dict)
    shadow_models: Mapping[str, str] = field(default_factory=dict)
    grounds: Callable[[], Record] | None = None
    explanation: Explanation | None = None

    @property
    def is_fallback(self) -> bool:
        """Whether the rung is below what the arm intends; models that are not for this user are no fallback."""
        is_meant = bool(self.basis.reasons) and all(map(is_as_meant, self.basis.reasons))
        is_below = RUNGS.index(self.basis.rung) > RUNGS.index(self.assignment.intended_rung)
        return is_below and not is_meant

    def response(self, *, token: str | None = None) -> dict[str, Any]:
        """The body of the HTTP answer; `token` says its arm to whom its exposure is told."""
        basis, answer = self.basis, self.answer
        activation = basis.predictions.get("activation")
        return {
            "request_id": self.request_id,
            "user_id": self.ask.user_id,
            **answer.told(),
            "activation_probability": None if activation is None else round(activation, 4),
            "predictions": {n: round(p, 4) for n, p in basis.predictions.items() if n.partition(":")[0] in OTHERS},
            "flow": answer.flow,
            "recommended_content": [
                {
                    "content_id": item.content.content_id,
                    "title": item.content.title,
                    "format": item.content.format,
                    "level": item.content.level,
                    "step": item.content.step,
                    "url": item.content.url,
                    "score": item.score,
                    "reason": item.reason,
                }
                for item in answer.items
            ],
            "experiment": {"name": self.assignment.name, "arm": self.assignment.arm, "token": token},
            "rung": basis.rung,
            "fallback": self.is_fallback,
            "reasons": list(basis.reasons),
            "models": dict(basis.models),
            "feature_lag_ms": None if basis.feature_lag_ms is None else round(basis.feature_lag_ms, 1),
            "latency_ms": round(self.latency_ms, 2),
            **({} if self.explanation is None else {"explanation": self.explanation.as_fields()}),
        }

    def record(self, *, worker: str, sequence: int) -> dict[str, Any]:
        """The record of personalization.decisions."""
        segment, items = self.answer.segment, self.answer.items
        return {
            "request_id": self.request_id,
            "user_id": self.ask.user_id,
            "anonymous_id": self.ask.anonymous_id,
            "decided_at": to_datetime(self.decided_us),
            "worker": worker,
            "sequence": sequence,
            "rung": self.basis.rung,
            "fallback": self.is_fallback,
            "reasons": list(self.basis.reasons),
            "experiment": self.assignment.name,
            "arm": self.assignment.arm,
            "propensity": self.assignment.propensity,
            "segment": {name: str(value) for name, value in segment.as_fields().items()},
            "predictions": dict(self.basis.predictions),
            "shadow_predictions": dict(self.shadow_predictions),
            "shadow_models": dict(self.shadow_models),
            "features": dict(self.basis.vector),
            "models": dict(self.basis.models),
            "flow": self.answer.flow,
            "ranking": [item.content.content_id for item in items],
            "item_scores": [item.score for item in items],
            "item_reasons": [item.reason for item in items],
            "limit": self.ask.limit,
            "row_version_us": self.basis.row_version_us,
            "feature_lag_ms": self.basis.feature_lag_ms,
            "stage_ms": dict(self.stage_ms),
            "latency_ms": self.latency_ms,
            **({"request": dict(self.ask.context)} if self.grounds is None else self.grounds()),
        }

"""Why the models said what they said: the features that moved a score most, for whoever asks for it.

Contributions are exact Shapley values of the trees, in the score's log-odds before calibration; with the bias they add
up to it. Source: Lundberg et al., "Consistent individualized feature attribution for tree ensembles", 2018; XGBoost's
pred_contribs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import xgboost as xgb

from firstmile.vocabulary import CLASSES
from serving.models import ScoringModel
from serving.stage import Stage, StageError

EXPLAINED: Final = ("activation", "skill_level")
TOP: Final = 5

Vector = Mapping[str, float | None]


@dataclass(frozen=True)
class Move:
    """One feature's part in a score: its value, None = not known, and by how much it moved the log-odds."""

    feature: str
    value: float | None
    contribution: float

    def as_fields(self) -> dict[str, Any]:
        """As the answer says it."""
        direction = "up" if self.contribution > 0 else "down"
        return {
            "feature": self.feature,
            "value": self.value,
            "contribution": round(self.contribution, 4),
            "direction": direction,
        }


@dataclass(frozen=True)
class Explanation:
    """What moved each score, by `model` or `model:class`; or the reason why that was left out."""

    moved: Mapping[str, Sequence[Move]] = field(default_factory=dict)
    reason: str | None = None

    def as_fields(self) -> dict[str, Any]:
        """As the answer says it."""
        return {"moved": {name: [m.as_fields() for m in moves] for name, moves in self.moved.items()}} | (
            {} if self.reason is None else {"reason": self.reason}
        )


class Explainer:
    """Explains within a deadline, in a thread of its own: what it takes too long for harms no scoring."""

    def __init__(self) -> None:
        self._stage = Stage("explain", n_threads=1)

    async def explain(
        self, models: Sequence[ScoringModel], vector: Vector, said: Mapping[str, float], *, timeout_s: float
    ) -> Explanation:
        """What moved the scores of EXPLAINED among these models; left out when there is no model or no time.

        said
            Probabilities by model, or `model:class`.
        """
        wanted = [model for model in models if model.name in EXPLAINED]
        if not wanted:
            return Explanation(reason="no_model")
        try:
            found = await self._stage.run(
                lambda: dict(moves(model, vector, said) for model in wanted), timeout_s=timeout_s
            )
        except StageError as error:
            return Explanation(reason=error.problem)
        return Explanation(found)

    def close(self) -> None:
        """Let the thread go."""
        self._stage.close()


def moves(model: ScoringModel, vector: Vector, said: Mapping[str, float]) -> tuple[str, list[Move]]:
    """What of a model is explained (of several classes the likeliest), and its TOP features by |contribution|.

    Features that moved nothing are left out.
    """
    row = np.array([[math.nan if (v := vector.get(f)) is None else v for f in model.features]], np.float32)
    matrix = xgb.DMatrix(row, feature_names=list(model.features), nthread=1)
    parts = model.booster.predict(matrix, pred_contribs=True)[0]
    name = model.name
    if (classes := CLASSES.get(name)) is not None:
        likeliest = max(range(len(classes)), key=lambda at: said.get(f"{name}:{classes[at]}", 0.0))
        name, parts = f"{name}:{classes[likeliest]}", parts[likeliest]
    order = np.argsort(-np.abs(parts[:-1]), kind="stable")[:TOP]  # the last one is the bias
    return name, [
        Move(model.features[at], vector.get(model.features[at]), float(parts[at])) for at in order if parts[at]
    ]

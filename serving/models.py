"""A model as serving uses it: a native booster, single-threaded, checked before it is trusted, scored row by row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from xgboost import Booster

from firstmile.calibration import NONE, Calibration
from firstmile.errors import DataError
from firstmile.names import CLASSES
from serving.facts import Values
from serving.scorer import Row, Scorer, scorer


@dataclass(frozen=True)
class ScoringModel:
    """One version of one model.

    features
        Names in the order of the vector, as the booster knows them.
    min_onboarding_days
        Youngest onboarding it was trained on: younger users get rules.
    gated_without
        Feature views it may do without: its masked form passed the gate too.
    calibration
        From the booster's scores to probabilities.
    """

    name: str
    version: str
    run_id: str
    booster: Booster
    features: tuple[str, ...]
    min_onboarding_days: float = 0.0
    gated_without: frozenset[str] = frozenset()
    calibration: Calibration = NONE

    @cached_property
    def scores(self) -> Scorer:
        """The booster's scores of a `row`, not calibrated."""
        return scorer(self.booster)

    def row(self, values: Values) -> Row:
        """The features in the booster's order, shape (1, n_features); those that are not known are NaN: missing."""
        return np.array([[_number(values.get(f)) for f in self.features]], np.float32)

    def probabilities(self, values: Values, row: Row | None = None) -> dict[str, float]:
        """Probabilities by `model` or `model:class`.

        row
            Of these values, where another model with the same features has made it already.

        Raises xgboost.core.XGBoostError (a ValueError) when the booster refuses.
        """
        scores = self.scores(self.row(values) if row is None else row)
        return self.named(scores if len(scores) > 1 else scores[0])

    def named(self, scores: NDArray[np.float32]) -> dict[str, float]:
        """The booster's scores of one row, calibrated, by `model` or `model:class`.

        Raises ValueError when there are not as many as classes.
        """
        classes = CLASSES.get(self.name)
        if classes is None:
            one = float(scores)
            return {self.name: float(self.calibration.apply(np.array([[1.0 - one, one]]))[0, 1])}
        calibrated = self.calibration.apply(np.asarray(scores, np.float64)[None])[0]
        return {f"{self.name}:{c}": float(p) for c, p in zip(classes, calibrated, strict=True)}


@dataclass
class Scores:
    """What the models said, filled model by model: whoever stops waiting still has what was finished."""

    probabilities: dict[str, float] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def prepare(booster: Booster) -> Booster:
    """One thread: a second one cost up to 24 ms on shared cores, and the setting does not survive saving."""
    booster.set_param({"nthread": 1})
    return booster


def check(model: ScoringModel, known_features: Sequence[str]) -> None:
    """Refuse a model that cannot be served, and warm it.

    Raises DataError saying what is wrong: features the reader does not give, or a first score that is no probability.
    """
    if not model.features:
        raise DataError(f"model {model.name} {model.version} has no feature names; log the booster with them")
    unknown = [f for f in model.features if f not in set(known_features)]
    if unknown:
        raise DataError(
            f"model {model.name} {model.version} wants {', '.join(unknown[:5])}"
            f"{' and more' if len(unknown) > 5 else ''}, which its feature service does not have; retrain it"
        )
    empty: dict[str, float | None] = {}
    try:
        scores = list(model.probabilities(empty).values())
    except (ValueError, TypeError) as error:
        raise DataError(f"model {model.name} {model.version} cannot score one row: {error}") from error
    n_wanted = len(CLASSES.get(model.name, (model.name,)))
    is_sound = all(math.isfinite(p) and 0 <= p <= 1 for p in scores)
    if len(scores) != n_wanted or not is_sound or (n_wanted > 1 and abs(sum(scores) - 1) > 1e-3):
        raise DataError(
            f"model {model.name} {model.version} scores an empty row as {scores}; {n_wanted} probabilities are wanted"
        )


def score(models: Sequence[ScoringModel], values: Values, into: Scores) -> Scores:
    """Ask every model; one that raises does not keep the others from answering."""
    rows: dict[tuple[str, ...], Row] = {}
    for model in models:
        try:
            if model.features not in rows:
                rows[model.features] = model.row(values)
            found = model.probabilities(values, rows[model.features])
        except (ValueError, TypeError):
            into.failed.append(model.name)
            continue
        into.probabilities.update(found)
        into.answered.append(model.name)
    return into


def vector(models: Sequence[ScoringModel], values: Values) -> dict[str, float | None]:
    """The features these models read, by name; what is not a number is None."""
    names = dict.fromkeys(f for model in models for f in model.features)
    return {name: None if math.isnan(n := _number(values.get(name))) else n for name in names}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

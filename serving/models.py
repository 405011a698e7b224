"""A model as serving uses it: a native booster, single-threaded, checked before it is trusted, scored row by row."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from xgboost import Booster

from feature_repo.values import FeatureValues
from firstmile.calibration import NONE, Calibration
from firstmile.errors import DataError
from firstmile.trees import Trees
from firstmile.vocabulary import CLASSES
from serving.facts import Values
from serving.order import Order
from serving.scorer import Rows, Scorer, by_xgboost, compiled_trees

QUICK_MS: Final = 0.5
N_TRIES: Final = 10


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
    def trees(self) -> Trees | None:
        """The booster's trees, if they can be walked without it."""
        return compiled_trees(self.booster)

    @cached_property
    def scores(self) -> Scorer:
        """The booster's scores of `rows`, not calibrated."""
        return by_xgboost(self.booster) if self.trees is None else self.trees.scores

    @cached_property
    def is_quick(self) -> bool:
        """Whether an event loop may wait for it: its trees are known and take QUICK_MS for a row at most."""
        return self.trees is not None and best_row_ms(self) <= QUICK_MS

    def probabilities(self, values: Values) -> dict[str, float]:
        """Probabilities of one user by `model` or `model:class`. Raises ValueError when the booster refuses."""
        return self.named(self.scores(rows_of(self.features, [values])))[0]

    def named(self, scores: NDArray[np.float32]) -> list[dict[str, float]]:
        """The booster's scores of rows, shape (n_rows, n_classes or 1), calibrated, by `model` or `model:class`.

        Raises ValueError when there are not as many as classes.
        """
        classes = CLASSES.get(self.name)
        exact = np.asarray(scores, np.float64)
        if exact.shape[1] != (1 if classes is None else len(classes)):
            raise ValueError(f"{self.name} gives {exact.shape[1]} scores a row, {classes or 'one'} expected")
        if classes is None:
            found = self.calibration.apply(np.column_stack([1.0 - exact[:, 0], exact[:, 0]]))[:, 1]
            return [{self.name: p} for p in found.tolist()]
        keys = [f"{self.name}:{c}" for c in classes]
        return [dict(zip(keys, row, strict=True)) for row in self.calibration.apply(exact).tolist()]


def rows_of(features: tuple[str, ...], users: Sequence[Values]) -> Rows:
    """Users' features in a booster's order, shape (n_users, n_features); those that are not known are NaN: missing."""
    return np.array([_vector(features, values) for values in users], np.float32)


def _vector(features: tuple[str, ...], values: Values) -> NDArray[np.float32]:
    if isinstance(values, FeatureValues):
        return values.vector(features)
    return np.array([math.nan if (v := values.get(f)) is None else float(v) for f in features], np.float32)


@dataclass
class Scores:
    """What the models said, filled model by model: whoever stops waiting still has what was finished.

    order
        The ranker's, of the user's shelf.
    """

    probabilities: dict[str, float] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    order: Order | None = None


def prepare(booster: Booster) -> Booster:
    """One thread: a second one cost up to 24 ms on shared cores, and the setting does not survive saving."""
    booster.set_param({"nthread": 1})
    return booster


def best_row_ms(model: ScoringModel) -> float:
    """How long an empty row takes: the best of N_TRIES, for what else the machine does only adds."""
    return min(_row_ms(model) for _ in range(N_TRIES))


def _row_ms(model: ScoringModel) -> float:
    started_s = time.perf_counter()
    model.probabilities({})
    return (time.perf_counter() - started_s) * 1_000


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


@dataclass(frozen=True)
class Question:
    """One user for some models, and where their answers go."""

    models: Sequence[ScoringModel]
    values: Values
    into: Scores


def score(question: Question) -> Scores:
    """Ask every model; one that raises does not keep the others from answering."""
    rows: dict[tuple[str, ...], Rows] = {}
    for model in question.models:
        try:
            if model.features not in rows:
                rows[model.features] = rows_of(model.features, [question.values])
            probabilities = model.named(model.scores(rows[model.features]))[0]
        except (ValueError, TypeError):
            question.into.failed.append(model.name)
            continue
        question.into.probabilities.update(probabilities)
        question.into.answered.append(model.name)
    return question.into


def vector(models: Sequence[ScoringModel], values: Values) -> dict[str, float | None]:
    """The features these models read, by name; what is not a number is None."""
    return {
        name: None if (n := values.get(name)) is None or n != n else float(n)  # NaN is not itself
        for name in _names(tuple(model.features for model in models))
    }


@lru_cache(maxsize=64)
def _names(features: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for of_model in features for name in of_model))

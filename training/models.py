"""One XGBoost model per task: the recipe, fitting it, asking it. Small trees, early stopping, everything seeded."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from training.split import IntArray, folds
from training.tasks import TASKS

FloatArray = npt.NDArray[np.float64]

MAX_ROUNDS: Final = 400
PATIENCE_ROUNDS: Final = 30
VALIDATION_FOLDS: Final = 5
# Shallow and heavily regularised: some 2,000 learners, and a next start that differs from the last.
RECIPE: Final[dict[str, Any]] = {
    "tree_method": "hist",
    "learning_rate": 0.05,
    "max_depth": 3,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "reg_lambda": 5.0,
}


@dataclass(frozen=True)
class Rows:
    """What a model learns from.

    x
        Shape (n_rows, n_features), NaN = not known.
    y
        Shape (n_rows,): class index.
    weight
        Shape (n_rows,): every user's rows sum to 1.
    student
        Shape (n_rows,): rows of one student stay together in validation.
    """

    x: FloatArray
    y: IntArray
    weight: FloatArray
    student: IntArray

    def where(self, mask: npt.NDArray[np.bool_]) -> "Rows":
        """The chosen rows."""
        return Rows(self.x[mask], self.y[mask], self.weight[mask], self.student[mask])


@dataclass(frozen=True)
class Fitter:
    """How models are fitted in this run: which task, the vector's names, the seed.

    A fit runs on one thread: two of them, on cores somebody else uses too, wait for each other (35 s became of 4 s).
    Several fits side by side use the cores better.
    """

    model: str
    features: tuple[str, ...]
    seed: int

    @property
    def n_classes(self) -> int:
        """Number of classes of the task."""
        return len(TASKS[self.model].classes)

    def parameters(self) -> dict[str, Any]:
        """All XGBoost parameters."""
        binary = {"objective": "binary:logistic", "eval_metric": "logloss"}
        several = {"objective": "multi:softprob", "eval_metric": "mlogloss", "num_class": self.n_classes}
        task = binary if self.n_classes == 2 else several
        return {**RECIPE, **task, "seed": self.seed, "nthread": 1}

    def fit(self, rows: Rows) -> xgb.Booster:
        """A booster stopped where a fifth of the students, held out, no longer gain."""
        held_out = folds(rows.student, n_folds=VALIDATION_FOLDS, seed=self.seed + 1) == 0
        validation = self._matrix(rows.where(held_out))
        booster = xgb.train(
            self.parameters(),
            self._matrix(rows.where(~held_out)),
            MAX_ROUNDS,
            evals=[(validation, "validation")],
            early_stopping_rounds=PATIENCE_ROUNDS,
            verbose_eval=False,
        )
        best: xgb.Booster = booster[: booster.best_iteration + 1]
        return best

    def refit(self, rows: Rows) -> xgb.Booster:
        """A booster on all rows, with as many rounds as `fit` found right."""
        n_rounds = self.fit(rows).num_boosted_rounds()
        return xgb.train(self.parameters(), self._matrix(rows), n_rounds, verbose_eval=False)

    def _matrix(self, rows: Rows) -> xgb.DMatrix:
        return xgb.DMatrix(rows.x, rows.y, weight=rows.weight, feature_names=list(self.features), nthread=1)


def probabilities(booster: xgb.Booster, x: FloatArray) -> FloatArray:
    """Probability of every class, shape (n_rows, n_classes), rows sum to 1."""
    raw = np.asarray(booster.inplace_predict(x), dtype=np.float64)
    if raw.ndim == 1:
        return np.column_stack([1.0 - raw, raw])
    return np.asarray(raw / raw.sum(axis=1, keepdims=True), dtype=np.float64)

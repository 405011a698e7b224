"""One XGBoost model per task: the recipe, fitting it, asking it. Small trees, calibration, one seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from firstmile.calibration import Calibration
from firstmile.errors import DataError
from training.anchor import AGE, CLICKS, anchor, plane
from training.arrays import FloatArray, IntArray, TextArray
from training.calibrate import Scored, choose_calibration
from training.masking import masked, missing_in_turn
from training.split import validation
from training.tasks import TASKS

MAX_ROUNDS: Final = 400
PATIENCE_ROUNDS: Final = 30
# Shallow and heavily regularised: some 2,000 users, and a next start that differs from the last.
RECIPE: Final[dict[str, Any]] = {
    "tree_method": "hist",
    "learning_rate": 0.05,
    "max_depth": 3,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "reg_lambda": 5.0,
}
# Two classes are learned in two steps (docs/adr/0015). First what total clicks and the age say alone, which holds in a
# start never seen; then small corrections by everything, as many always: stopping early left from 1 to 860
# rounds, and 1 where positives are few. Chosen on pairs of starts, one learned from, one examined. A row weighs a fifth
# of a user or less, so 5 as least child weight was some 300 rows: of disengagement AAA_2013J taught nothing.
CORRECTION_ROUNDS: Final = 75
STOPPED_EARLY: Final = "stopped early, groups missing in turn"
PLANE: Final = "plane and corrections, docs/adr/0015"
BINARY: Final[dict[str, Any]] = {
    "learning_rate": 0.02,
    "max_depth": 1,
    "min_child_weight": 0.5,
    "colsample_bytree": 0.15,
    "base_score": 0.5,
}
# With several classes a round grows a tree for each: 0.05 took twice as long and gained 0.001 of log loss.
SEVERAL: Final[dict[str, Any]] = {"learning_rate": 0.1}


@dataclass(frozen=True)
class Rows:
    """What a model learns from.

    x
        Shape (n_rows, n_features), NaN = not known.
    y
        Shape (n_rows,): class index.
    weight
        Shape (n_rows,): every user's rows sum to 1.
    person
        Shape (n_rows,): rows of one person stay together in validation.
    cohort
        Shape (n_rows,): the start each row is from.
    """

    x: FloatArray
    y: IntArray
    weight: FloatArray
    person: IntArray
    cohort: TextArray

    def where(self, chosen: npt.NDArray[np.bool_] | IntArray) -> "Rows":
        """The chosen rows, by a mask or by their places."""
        x, y, weight = self.x[chosen], self.y[chosen], self.weight[chosen]
        return Rows(x, y, weight, self.person[chosen], self.cohort[chosen])

    def only(self, columns: list[int]) -> "Rows":
        """The same rows, seeing the chosen columns alone."""
        return replace(self, x=self.x[:, columns])


COUNTED: Final = ("_count", "_weight")
COUNTS: Final = ("opens_", "active_days", "n_contents", "n_pages")
"""Endings and beginnings of the names of features that count what somebody did."""


@dataclass(frozen=True)
class Fitted:
    """A booster and what its scores are worth.

    losses
        Log loss of each way to calibrate, on people held out of validation.
    """

    booster: xgb.Booster
    calibration: Calibration
    losses: Mapping[str, float] = field(default_factory=dict)

    def probabilities(self, x: FloatArray) -> FloatArray:
        """Probability of every class, shape (n_rows, n_classes), rows sum to 1."""
        return self.calibration.apply(class_scores(self.booster, x))

    def by_name(self, x: FloatArray, features: Sequence[str]) -> FloatArray:
        """The same of vectors of other features, or in another order: XGBoost itself does not look at names here.

        features
            Names of the columns of x.

        Raises DataError when one that the booster reads is missing.
        """
        read = self.booster.feature_names or ()
        if unknown := [name for name in read if name not in features]:
            raise DataError(f"it reads features that are not there: {', '.join(unknown)}")
        return self.probabilities(x[:, [list(features).index(name) for name in read]])


@dataclass(frozen=True)
class Fitter:
    """How models are fitted in this run: which task, the vector's names, the seed; `changes` go over the recipe.

    A fit runs on one thread: two of them, on cores somebody else uses too, wait for each other (35 s became of 4 s).
    Several fits side by side use the cores better.
    """

    model: str
    features: tuple[str, ...]
    seed: int
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def n_classes(self) -> int:
        """Number of classes of the task."""
        return len(TASKS[self.model].classes)

    @property
    def recipe(self) -> str:
        """Logged with a version, for what its parameters do not say."""
        return PLANE if self.n_classes == 2 else STOPPED_EARLY

    def parameters(self) -> dict[str, Any]:
        """All XGBoost parameters."""
        binary = {"objective": "binary:logistic", "eval_metric": "logloss", **BINARY, **self._monotone()}
        several = {"objective": "multi:softprob", "eval_metric": "mlogloss", "num_class": self.n_classes, **SEVERAL}
        task = binary if self.n_classes == 2 else several
        return {**RECIPE, **task, "seed": self.seed, "nthread": 1, **dict(self.changes)}

    def with_parameters(self, logged: Mapping[str, str]) -> "Fitter":
        """The same with the XGBoost parameters that a run logged, where they are not the recipe's."""
        recipe = {n: v for n, v in self.parameters().items() if n != "monotone_constraints"}  # that follows the vector
        said = {name: _as(logged[name], usual) for name, usual in recipe.items() if name in logged}
        other = {name: value for name, value in said.items() if value != recipe[name]}
        return replace(self, changes=tuple({**dict(self.changes), **other}.items()))

    def _monotone(self) -> dict[str, str]:
        """More of any activity never says the opposite of what activity says.

        Before there was an anchor, mean AUC of activation over days and three seeds was 0.758 without and 0.766 with it
        on AAA_2014J, 0.736 and 0.774 on BBB_2013B learned from AAA alone.
        """
        sign = TASKS[self.model].activity_says
        signs = [sign if name.endswith(COUNTED) or name.startswith(COUNTS) else 0 for name in self.features]
        return {"monotone_constraints": f"({','.join(map(str, signs))})"}

    def fit(self, rows: Rows) -> Fitted:
        """A booster of the rows that are not held out for validation, calibrated on those."""
        split = validation(rows.cohort, rows.person, seed=self.seed)
        train, calibrate, judge = (rows.where(part) for part in (split.train, split.calibrate, split.judge))
        best = self._anchored(train) if self.n_classes == 2 else self._stopped(train, judge)
        is_same = split.judge is split.calibrate
        calibration, losses = choose_calibration(
            _scored(best, calibrate), None if is_same else _scored(best, judge), seed=self.seed + 2
        )
        return Fitted(best, calibration, losses)

    def refit(self, rows: Rows) -> Fitted:
        """A booster on all rows, with as many rounds as `fit` found right, and the calibration found there."""
        found = self.fit(rows)
        if self.n_classes == 2:
            return replace(found, booster=self._anchored(rows))
        n_rounds = found.booster.num_boosted_rounds()
        matrix = self._matrix(self._masked(rows))
        return replace(found, booster=xgb.train(self.parameters(), matrix, n_rounds, verbose_eval=False))

    def _anchored(self, rows: Rows) -> xgb.Booster:
        """What clicks and age say alone, then corrections by all features."""
        parameters, first = self.parameters(), None
        if CLICKS in self.features:
            clicks, age = self._column(rows, CLICKS), self._column(rows, AGE)
            said = plane(clicks, age, rows.y, rows.weight, sign=TASKS[self.model].activity_says)
            most = float(np.nanmax(clicks, initial=0.0)), float(np.nanmax(age, initial=0.0))
            first = anchor(said, features=self.features, most=most, objective=parameters["objective"])
        matrix = self._matrix(self._masked(rows))
        return xgb.train(parameters, matrix, CORRECTION_ROUNDS, xgb_model=first, verbose_eval=False)

    def _column(self, rows: Rows, name: str) -> FloatArray:
        """Of a feature this vector does not have, the same of everybody."""
        if name not in self.features:
            return np.ones(len(rows.y))
        return np.asarray(rows.x[:, self.features.index(name)], np.float64)

    def _stopped(self, train: Rows, judge: Rows) -> xgb.Booster:
        """Stopped where the judging rows no longer gain."""
        booster = xgb.train(
            self.parameters(),
            self._matrix(self._masked(train)),
            self._scaled(MAX_ROUNDS),
            evals=[(self._matrix(judge), "validation")],
            early_stopping_rounds=self._scaled(PATIENCE_ROUNDS),
            verbose_eval=False,
        )
        return booster[: booster.best_iteration + 1]

    def _scaled(self, rounds: int) -> int:
        """As many rounds as reach equally far by the learning rate."""
        return int(rounds * RECIPE["learning_rate"] / self.parameters()["learning_rate"])

    def _masked(self, rows: Rows) -> Rows:
        """Rows some of which lack a group of features.

        Of several classes every row in turn lacks each: which rows a seed hid moved the AUC of skill_level on BBB_2013B
        at day 14 by 0.009, and took it below total clicks. Two classes, held by their anchor, gained nothing by it.
        """
        if self.n_classes == 2:
            return replace(rows, x=masked(rows.x, self.features, seed=self.seed + 3))
        x, of, part = missing_in_turn(rows.x, self.features)
        again = rows.where(of)
        return replace(again, x=x, weight=again.weight * part)

    def _matrix(self, rows: Rows) -> xgb.DMatrix:
        return xgb.DMatrix(rows.x, rows.y, weight=rows.weight, feature_names=list(self.features), nthread=1)


def _as(logged: str, usual: Any) -> Any:
    """A parameter out of a run; what is a whole number in the recipe need not be one there."""
    if isinstance(usual, str):
        return logged
    number = float(logged)
    return int(number) if isinstance(usual, int) and number.is_integer() else number


def class_scores(booster: xgb.Booster, x: FloatArray) -> FloatArray:
    """The booster's score of every class, shape (n_rows, n_classes), rows sum to 1; not calibrated."""
    raw = np.asarray(booster.inplace_predict(x), dtype=np.float64)
    if raw.ndim == 1:
        return np.column_stack([1.0 - raw, raw])
    return np.asarray(raw / raw.sum(axis=1, keepdims=True), dtype=np.float64)


def _scored(booster: xgb.Booster, rows: Rows) -> Scored:
    return Scored(class_scores(booster, rows.x), rows.y, rows.weight, rows.person)

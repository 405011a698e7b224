"""What total clicks and the onboarding's age say alone, as trees: what a model of two classes begins with.

Who clicks more is likelier to stay, in every course; how much likelier is a plane, log odds over the logarithms of
clicks and of days, which some twenty cases are enough for. Trees grown from the labels themselves stop splitting where
cases are few, so that all who click much stand in one leaf, and a start never seen is ordered worse by them than by the
column alone. These are grown from the plane: they say what it says, as finely, in one booster with the corrections.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xgboost as xgb
from sklearn.linear_model import LogisticRegression

from training.arrays import FloatArray, IntArray

CLICKS: Final = "clicks_total_weight"
AGE: Final = "onboarding_age_days"
N_POINTS: Final = 1_500
BEYOND: Final = 3.0
"""The plane is drawn to so many times the most clicks seen."""
N_AGES: Final = 24
YOUNGEST: Final = 0.5
"""Days; whoever began later counts as this old."""
LEAST: Final = 1e-3
ROUNDS: Final = 60
TREES: Final[dict[str, Any]] = {
    "tree_method": "hist",
    "learning_rate": 0.3,
    "max_depth": 5,
    "max_bin": 2_048,
    "min_child_weight": 1,
    "reg_lambda": 0.0,
    "base_score": 0.5,
    "nthread": 1,
}


@dataclass(frozen=True)
class Plane:
    """Log odds of class 1: `intercept + by_clicks * log(1 + clicks) + by_age * log(days)`; `blind` where clicks are not
    known."""

    intercept: float
    by_clicks: float
    by_age: float
    blind: float

    def at(self, clicks: FloatArray, age: FloatArray) -> FloatArray:
        """Shape (n_rows,), as of both arguments."""
        return self.intercept + self.by_clicks * _log_clicks(clicks) + self.by_age * _log_days(age)


def plane(clicks: FloatArray, age: FloatArray, y: IntArray, weight: FloatArray, *, sign: int) -> Plane:
    """The plane of rows, all of shape (n_rows,); those of which clicks or age are not known are left out.

    sign
        1 when more clicks can only mean class 1, -1 when only class 0, 0 when either: where the rows say the opposite,
        clicks say nothing.
    """
    known = ~np.isnan(clicks) & ~np.isnan(age)
    share = float(np.clip(np.average(y == 1, weights=weight), LEAST, 1 - LEAST))
    blind = float(np.log(share / (1.0 - share)))
    if len(np.unique(y[known])) < 2:
        return Plane(blind, 0.0, 0.0, blind)
    x = np.column_stack([_log_clicks(clicks[known]), _log_days(age[known])])
    # Newton's steps come to a point; where others stop depends on the order in which threads add up.
    fitted = LogisticRegression(solver="newton-cholesky", tol=1e-9).fit(x, y[known], sample_weight=weight[known])
    by_clicks, by_age, intercept = (round(float(n), 6) for n in (*fitted.coef_[0], fitted.intercept_[0]))
    if by_clicks * sign < 0:
        return Plane(blind, 0.0, 0.0, blind)
    return Plane(intercept, by_clicks, by_age, blind)


def _log_clicks(clicks: FloatArray) -> FloatArray:
    return np.asarray(np.log1p(np.maximum(clicks, 0.0)), np.float64)


def _log_days(age: FloatArray) -> FloatArray:
    return np.asarray(np.log(np.maximum(age, YOUNGEST)), np.float64)


def anchor(said: Plane, *, features: Sequence[str], most: tuple[float, float], objective: str) -> xgb.Booster:
    """Trees that say what a plane says, in the margin of `objective`, by one of the two features each.

    features
        The booster's names, CLICKS and maybe AGE among them.
    most
        Most clicks and days there were.
    """
    names = list(features)
    points = np.expm1(np.linspace(0.0, np.log1p(BEYOND * most[0]), N_POINTS))
    days = np.geomspace(YOUNGEST, max(most[1], 2 * YOUNGEST), N_AGES)
    clicks, age = (each.ravel() for each in np.meshgrid(points, days))
    n_blind = len(clicks) // 20
    x = np.full((len(clicks) + n_blind, len(names)), np.nan, np.float32)
    x[: len(clicks), names.index(CLICKS)] = clicks
    if AGE in names:
        x[: len(clicks), names.index(AGE)] = age
    wanted = np.concatenate([said.at(clicks, age), np.full(n_blind, said.blind)])

    def squared_error(margin: FloatArray, _: xgb.DMatrix) -> tuple[FloatArray, FloatArray]:
        return margin - wanted, np.ones_like(wanted)

    apart = [[name] for name in (CLICKS, AGE) if name in names]
    parameters = {**TREES, "objective": objective, "interaction_constraints": apart}
    matrix = xgb.DMatrix(x, np.zeros(len(x)), feature_names=names, nthread=1)
    return xgb.train(parameters, matrix, ROUNDS, obj=squared_error, verbose_eval=False)

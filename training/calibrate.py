"""Choosing and fitting a model's calibration on rows its booster did not learn from."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from firstmile.calibration import CLIP, Calibration, Curve, Method
from training.arrays import BoolArray, FloatArray, IntArray
from training.split import folds

FLOOR: Final = 1e-3
"""No curve says 0 or 1: one surprise would cost an infinite log loss."""
CHOICE_FOLDS: Final = 4
SURE: Final = 2.0
"""At one standard error, isotonic was chosen for activation and cost 0.01 of log loss on the examined people."""
SIMPLEST_FIRST: Final[tuple[Method, ...]] = ("none", "scaling", "isotonic")


@dataclass(frozen=True)
class Scored:
    """Rows with a booster's answers, which it had not learned from.

    p
        Shape (n_rows, n_classes).
    y, weight, person
        Shape (n_rows,).
    """

    p: FloatArray
    y: IntArray
    weight: FloatArray
    person: IntArray

    def where(self, mask: BoolArray) -> "Scored":
        """The chosen rows."""
        return Scored(self.p[mask], self.y[mask], self.weight[mask], self.person[mask])


def choose_calibration(fit_on: Scored, judge: Scored | None, *, seed: int) -> tuple[Calibration, dict[str, float]]:
    """The simplest method none beats by more than SURE standard errors of a user's gain, fitted on all of `fit_on`.

    judge
        Rows the methods are compared on; None: those of fit_on, in folds of people.

    Returns it and each method's log loss.
    """
    per_user = {method: _loss_per_user(method, fit_on, judge, seed) for method in SIMPLEST_FIRST}
    best: Method = SIMPLEST_FIRST[0]
    for method in SIMPLEST_FIRST[1:]:
        gain = per_user[best] - per_user[method]
        if len(gain) > 1 and gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(len(gain)):
            best = method
    losses: dict[str, float] = {method: float(loss.mean()) for method, loss in per_user.items()}
    return fit_calibration(best, fit_on), losses


def fit_calibration(method: Method, rows: Scored) -> Calibration:
    """A calibration of one method by least weighted log loss (scaling) or squares (isotonic)."""
    if method == "scaling":
        return _fit_scaling(rows)
    if method == "isotonic":
        classes = [1] if rows.p.shape[1] == 2 else range(rows.p.shape[1])
        return Calibration(
            "isotonic", curves=tuple(_fit_curve(rows.p[:, k], rows.y == k, rows.weight) for k in classes)
        )
    return Calibration()


def row_losses(p: FloatArray, y: IntArray) -> FloatArray:
    """-log of the true class's probability, shape (n_rows,).

    >>> row_losses(np.array([[0.5, 0.5]]), np.array([1])).round(4).tolist()
    [0.6931]
    """
    return np.asarray(-np.log(np.clip(p[np.arange(len(y)), y], CLIP, 1.0)), np.float64)


def _loss_per_user(method: Method, fit_on: Scored, judge: Scored | None, seed: int) -> FloatArray:
    """Weighted log loss of each person judged."""
    judged = fit_on if judge is None else judge
    answers = np.array(judged.p)
    if judge is not None:
        answers = fit_calibration(method, fit_on).apply(judge.p)
    else:
        fold = folds(fit_on.person, n_folds=CHOICE_FOLDS, seed=seed)
        for k in np.unique(fold):
            if (fold != k).any():
                answers[fold == k] = fit_calibration(method, fit_on.where(fold != k)).apply(fit_on.p[fold == k])
    _, of = np.unique(judged.person, return_inverse=True)
    sums = np.bincount(of, weights=row_losses(answers, judged.y) * judged.weight)
    return np.asarray(sums / np.bincount(of, weights=judged.weight), np.float64)


def _fit_scaling(rows: Scored) -> Calibration:
    def made(theta: FloatArray) -> Calibration:
        return Calibration("scaling", float(np.exp(theta[0])), (0.0, *(float(b) for b in theta[1:])))

    def loss(theta: FloatArray) -> float:
        # The small penalty keeps the bias of a class nobody has from running away.
        mean = np.average(row_losses(made(theta).apply(rows.p), rows.y), weights=rows.weight)
        return float(mean) + 1e-3 * float(theta @ theta)

    return made(minimize(loss, np.zeros(rows.p.shape[1]), method="BFGS").x)


def _fit_curve(score: FloatArray, is_class: BoolArray, weight: FloatArray) -> Curve:
    fitted = IsotonicRegression(y_min=FLOOR, y_max=1.0 - FLOOR, out_of_bounds="clip").fit(score, is_class, weight)
    return tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_))

"""How good the answers are at each day, beside two baselines that know almost nothing.

Figures are taken inside each (cohort, day) and then averaged over cohorts by their number of users:
pooled, a model would earn AUC by telling one course from another.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from training.arrays import FloatArray, IntArray, TextArray
from training.bootstrap import drawn_auc, ece
from training.calibrate import row_losses
from training.figures import DayFigures, Figures

ONE_COLUMN: Final = "clicks_total_weight"
"""The honest baseline: total clicks so far."""


def evaluate(
    y: IntArray,
    p: FloatArray,
    *,
    p_one_column: FloatArray,
    p_majority: FloatArray,
    day: IntArray,
    cohort: TextArray,
) -> DayFigures:
    """Figures by day: n, base_rate, auc, auc_one_column, log_loss, log_loss_majority, brier, ece,
    accuracy, ….

    y
        Shape (n,): true class.
    p, p_one_column, p_majority
        Shape (n, n_classes): what the model says; a score of one column; shares of the classes in training.
    day, cohort
        Shape (n,): the cell of each row.
    """
    result: DayFigures = {}
    for at in sorted(set(day.tolist())):
        cells = []
        for name in sorted(set(cohort[day == at].tolist())):
            cell = (day == at) & (cohort == name)
            cells.append(_cell(y[cell], p[cell], p_one_column[cell], p_majority[cell]))
        result[at] = _mean(cells)
    return result


def quality(y: IntArray, p: FloatArray, cohort: TextArray) -> Figures:
    """Figures of one day that need no baseline: n, base_rate, auc, log_loss, brier, ece, accuracy."""
    names = sorted(set(cohort.tolist()))
    return _mean([_quality(y[cohort == name], p[cohort == name]) for name in names])


def macro_auc(y: IntArray, scores: FloatArray) -> float:
    """Area under the ROC curve: of class 1 with two classes, else the mean of each class against the rest.

    A class nobody has, or everybody, has no curve: left out of the mean; NaN when none is left.

    >>> macro_auc(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
    1.0
    """
    # Not scikit-learn's: it looks its arguments over for 5 ms a call, and a training run asks for thousands of areas.
    return float(drawn_auc(y, scores, np.ones((1, len(y))))[0])


def brier(y: IntArray, p: FloatArray) -> float:
    """Mean squared error of the probabilities: of class 1 with two classes, else summed over the classes.

    >>> brier(np.array([1]), np.array([[0.5, 0.5]]))
    0.25
    """
    if p.shape[1] == 2:
        return float(np.mean((p[:, 1] - y) ** 2))
    return float(np.mean(np.sum((p - np.eye(p.shape[1])[y]) ** 2, axis=1)))


def class_shares(y: IntArray, weight: FloatArray, n_classes: int) -> FloatArray:
    """Shares of the classes, shape (n_classes,), each at least a little above 0 so that its log loss is finite.

    >>> class_shares(np.array([0, 1, 1]), np.ones(3), 2).tolist()
    [0.4, 0.6]
    """
    counts = np.bincount(y, weights=weight, minlength=n_classes) + 1.0
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def column_signs(x: FloatArray, y: IntArray, n_classes: int) -> tuple[int, ...]:
    """Of each class 1 if more of a column meant it in training, -1 if less did; a missing value counts as 0.

    >>> column_signs(np.array([0.0, 1.0, 5.0]), np.array([2, 1, 0]), 3)
    (1, 1, -1)
    """
    known = np.where(np.isnan(x), 0.0, x)
    both = np.column_stack([known, known])
    return tuple(-1 if macro_auc((y == k).astype(np.int64), both) < 0.5 else 1 for k in range(n_classes))


def column_scores(x: FloatArray, signs: Sequence[int]) -> FloatArray:
    """A single column as each class's score against the rest, shape (n, n_classes); a missing value counts as 0."""
    return np.asarray(np.where(np.isnan(x), 0.0, x)[:, np.newaxis] * np.array(signs), np.float64)


def _cell(y: IntArray, p: FloatArray, p_one_column: FloatArray, p_majority: FloatArray) -> Figures:
    return {
        **_quality(y, p),
        "auc_one_column": macro_auc(y, p_one_column),
        "log_loss_majority": float(row_losses(p_majority, y).mean()),
        "accuracy_majority": float(np.mean(p_majority.argmax(axis=1) == y)),
    }


def _quality(y: IntArray, p: FloatArray) -> Figures:
    base = float(np.mean(y == 1)) if p.shape[1] == 2 else float(np.bincount(y).max() / len(y))
    return {
        "n": float(len(y)),
        "base_rate": base,
        "auc": macro_auc(y, p),
        "log_loss": float(row_losses(p, y).mean()),
        "brier": brier(y, p),
        "ece": float(ece(y, p)[0]),
        "accuracy": float(np.mean(p.argmax(axis=1) == y)),
    }


def _mean(cells: list[Figures]) -> Figures:
    """Mean over cells by n; a figure undefined in a cell (NaN) leaves that cell out of its mean."""
    n = np.array([cell["n"] for cell in cells])
    out: Figures = {"n": float(n.sum())}
    for name in cells[0].keys() - {"n"}:
        values = np.array([cell[name] for cell in cells])
        known = ~np.isnan(values)
        out[name] = float(np.average(values[known], weights=n[known])) if known.any() else float("nan")
    return out

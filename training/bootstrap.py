"""How sure a figure is: users drawn again and again, with replacement, a fixed seed.

A user's rows stand or fall together, so that a user seen on three days is one piece of evidence. Source: Efron,
Bootstrap methods, 1979; percentile intervals.
"""

from typing import Final

import numpy as np

from training.arrays import BoolArray, FloatArray, IntArray, TextArray
from training.calibrate import row_losses
from training.figures import DayFigures, Figures

N_DRAWS: Final = 200
LEVEL: Final = 0.95
N_BINS: Final = 10


def draws(users: TextArray | IntArray, *, seed: int, n_draws: int = N_DRAWS) -> FloatArray:
    """How often each row's user was drawn, shape (n_draws, n_rows)."""
    unique, index = np.unique(users, return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(unique), np.full(len(unique), 1 / len(unique)), size=n_draws)
    return np.asarray(counts[:, index], np.float64)


def intervals(
    y: IntArray, p: FloatArray, *, day: IntArray, cohort: TextArray, users: TextArray, seed: int
) -> DayFigures:
    """Per day, `<figure>_low` and `<figure>_high` of auc, log_loss, brier and ece, at LEVEL.

    y, day, cohort, users
        Shape (n,).
    p
        Shape (n, n_classes).
    """
    weights = draws(users, seed=seed)
    result: DayFigures = {}
    for at in sorted(set(day.tolist())):
        rows = day == at
        drawn = drawn_figures(y[rows], p[rows], cohort[rows], weights[:, rows])
        result[at] = {
            f"{name}_{end}": quantile(values, q)
            for name, values in drawn.items()
            for end, q in (("low", (1 - LEVEL) / 2), ("high", (1 + LEVEL) / 2))
        }
    return result


def drawn_figures(y: IntArray, p: FloatArray, cohort: TextArray, weights: FloatArray) -> dict[str, FloatArray]:
    """Each figure in every draw, shape (n_draws,): taken inside a cohort, averaged by its users drawn."""
    cells = [cohort == name for name in sorted(set(cohort.tolist()))]
    n = np.stack([weights[:, cell].sum(axis=1) for cell in cells])
    result = {}
    for name, figure in FIGURES.items():
        values = np.stack([figure(y[cell], p[cell], weights[:, cell]) for cell in cells])
        known = np.where(np.isnan(values), 0.0, n)
        with np.errstate(invalid="ignore"):
            result[name] = np.nansum(values * known, axis=0) / known.sum(axis=0)
    return result


def quantile(values: FloatArray, q: float) -> float:
    """A quantile of the draws in which the figure is defined; NaN without one."""
    known = values[~np.isnan(values)]
    return float(np.quantile(known, q)) if len(known) else float("nan")


def drawn_auc(y: IntArray, p: FloatArray, weights: FloatArray) -> FloatArray:
    """`evaluate.macro_auc` with rows counted as often as drawn, shape (n_draws,)."""
    classes = [1] if p.shape[1] == 2 else [k for k in range(p.shape[1]) if 0 < (y == k).sum() < len(y)]
    areas = [_area(y == k, p[:, k], weights) for k in classes]
    if not areas:
        return np.full(len(weights), np.nan)
    stacked = np.stack(areas)
    n = (~np.isnan(stacked)).sum(axis=0)
    return np.asarray(np.where(n, np.nansum(stacked, axis=0) / np.maximum(n, 1), np.nan), np.float64)


def ece(y: IntArray, p: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Expected calibration error, shape (n_draws,), without weights (1,): in [0, 1].

    Probabilities fall into 10 bins of equal width; sum over bins of (share of the rows) * |mean probability - share of
    the class|. With two classes of class 1; with more of the likeliest class against being right ("top label").

    Source: Naeini et al., AAAI 2015; Guo et al., ICML 2017.

    >>> ece(np.array([1, 0]), np.array([[0.2, 0.8], [0.25, 0.75]])).round(3).tolist()
    [0.475]
    """
    w = np.ones((1, len(y))) if weights is None else weights
    score, hit = (p[:, 1], y == 1) if p.shape[1] == 2 else (p.max(axis=1), p.argmax(axis=1) == y)
    bins = np.minimum((score * N_BINS).astype(np.int64), N_BINS - 1)
    difference = (score - hit)[:, None] * np.eye(N_BINS)[bins]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(w @ difference).sum(axis=1) / w.sum(axis=1), np.float64)


def _log_loss(y: IntArray, p: FloatArray, weights: FloatArray) -> FloatArray:
    return _mean(row_losses(p, y), weights)


def _brier(y: IntArray, p: FloatArray, weights: FloatArray) -> FloatArray:
    squares = (p[:, 1] - y) ** 2 if p.shape[1] == 2 else np.sum((p - np.eye(p.shape[1])[y]) ** 2, axis=1)
    return _mean(np.asarray(squares, np.float64), weights)


FIGURES: Final = {"auc": drawn_auc, "log_loss": _log_loss, "brier": _brier, "ece": ece}


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ values / weights.sum(axis=1), np.float64)


def _area(is_class: BoolArray, score: FloatArray, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve in every draw; NaN where a draw has one class only."""
    order = np.argsort(score, kind="stable")
    edges = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    w, hit = weights[:, order], is_class[order]
    yes, no = (np.add.reduceat(w * mask, edges, axis=1) for mask in (hit, ~hit))
    below = np.cumsum(no, axis=1) - no
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (yes * (below + no / 2)).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1))
    return np.asarray(area, np.float64)


def difference_low(
    y: IntArray, challenger: FloatArray, champion: FloatArray, *, cells: TextArray, users: TextArray, seed: int
) -> Figures:
    """Paired bootstrap of challenger − champion AUC: both answer the same drawn users.

    cells
        Shape (n,): AUC is taken inside a cell (cohort and day) and averaged by rows drawn.

    Returns `difference` and its `low` and `high` at LEVEL.
    """
    weights = draws(users, seed=seed)
    gap = drawn_figures(y, challenger, cells, weights)["auc"] - drawn_figures(y, champion, cells, weights)["auc"]
    once = np.ones((1, len(y)))
    plain = [float(drawn_figures(y, p, cells, once)["auc"][0]) for p in (challenger, champion)]
    low, high = (quantile(gap, q) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return {"difference": plain[0] - plain[1], "low": low, "high": high}

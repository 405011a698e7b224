"""How good an order is: NDCG at 5, and how sure one may be of a mean of it.

Source: K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002, with gains
of 0 and 1 and the discount 1 / log2(place + 1).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from training.arrays import FloatArray, IntArray
from training.bootstrap import LEVEL, draws, quantile

TOP: Final = 5
"""What a page shows at once."""
N_RESAMPLES: Final = 2_000

_DISCOUNTS: Final = 1.0 / np.log2(np.arange(TOP) + 2.0)
_IDEAL: Final = np.concatenate(([0.0], np.cumsum(_DISCOUNTS)))


def ndcg(
    score: npt.NDArray[np.floating], hit: npt.NDArray[np.integer], group: IntArray, n_true: IntArray
) -> FloatArray:
    """NDCG at 5 of each group, shape (n_groups,); NaN for a group with nothing to find.

    score, hit, group
        Shape (n_rows,): higher comes first, and ties in the order given; 1 = right; index into the groups, ascending.
    n_true
        Shape (n_groups,): how many right ones there are. More than are among the rows: the rest was lost before the
        ranking, and the ideal order has it.

    >>> ndcg(np.array([0.9, 0.8, 0.1]), np.array([0, 1, 0]), np.zeros(3, int), np.array([1])).round(3).tolist()
    [0.631]
    """
    order = np.lexsort((-score, group))  # stable: ties stay in the order given
    starts = np.searchsorted(group, np.arange(len(n_true)))
    place = np.arange(len(group)) - starts[group]
    top = place < TOP
    gains = hit[order[top]] * _DISCOUNTS[place[top]]
    found = np.bincount(group[top], weights=gains, minlength=len(n_true))
    ideal = _IDEAL[np.minimum(n_true, TOP)]
    return np.where(ideal > 0, found / np.maximum(ideal, _DISCOUNTS[-1]), np.nan)


def interval(values: FloatArray, cluster: IntArray, *, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean, drawing whole clusters: a user's groups are not independent.

    values, cluster
        Shape (n,): no NaN; which rows are drawn together.

    (NaN, NaN) without a value.
    Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    if not len(values):
        return float("nan"), float("nan")
    drawn = draws(cluster, seed=seed, n_draws=N_RESAMPLES)
    means = (drawn @ values) / drawn.sum(axis=1)
    return quantile(means, (1.0 - LEVEL) / 2.0), quantile(means, (1.0 + LEVEL) / 2.0)

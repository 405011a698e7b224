"""How large a drift score chance alone makes: the threshold that lets few and many decisions be judged alike.

With 20 decisions the distance to an unchanged population is already 0.2 of a standard deviation, with 1,000 it is 0.04:
a fixed threshold cries wolf on the first or sleeps on the second.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

FLOOR: Final = 0.1
"""Evidently's default: a tenth of the reference's standard deviation. Less is not worth looking at, however certain."""
QUANTILE: Final = 0.995
"""Of chance: of 60 unchanged columns, one in three reports shows one as drifted."""
N_DRAWS: Final = 400
MAX_POINTS: Final = 1_000
MIN_STD: Final = 0.001
"""As in Evidently: what a constant reference is divided by."""

Values = npt.NDArray[np.float64]


def drift_threshold(reference: Values, *, n_current: int, seed: int = 7) -> float:
    """Score that a column must reach to count as drifted.

    The larger of FLOOR and the QUANTILE of the scores of N_DRAWS random samples of the reference itself.

    reference
        Shape (n,), finite, n > 0.
    n_current
        Independent observations on the other side, > 0.

    Source: parametric bootstrap; that the reference is a sample too enters as n m / (n + m) observations.
    """
    values, counts = np.unique(reference, return_counts=True)
    if len(values) > MAX_POINTS:  # probabilities; counts keep their long tail, which is most of their noise
        values, counts = np.unique(_thinned(reference), return_counts=True)
    if len(values) == 1:
        return FLOOR
    n_fair = max(1, round(n_current * len(reference) / (n_current + len(reference))))
    share = counts / counts.sum()
    draws = np.random.default_rng(seed).multinomial(n_fair, share, size=N_DRAWS)
    gaps = np.abs(np.cumsum(draws / n_fair - share, axis=1))[:, :-1]
    distances = gaps @ np.diff(values) / max(float(reference.std()), MIN_STD)
    return max(FLOOR, float(np.quantile(distances, QUANTILE)))


def _thinned(values: Values) -> Values:
    """At most MAX_POINTS of the values, evenly by rank."""
    ranks = (np.arange(MAX_POINTS) + 0.5) * len(values) / MAX_POINTS
    return np.sort(values)[ranks.astype(np.int64)]

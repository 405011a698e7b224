"""How a booster is asked about a few rows: by its trees in compiled code, as long as they say what XGBoost says."""

import logging
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from xgboost import Booster

from firstmile.trees import Trees, trees_of

log = logging.getLogger(__name__)

Rows = NDArray[np.float32]
Scores = NDArray[np.float32]
Scorer = Callable[[Rows], Scores]
"""Scores of rows of shape (n_rows, n_features): shape (n_rows, n_classes), or (n_rows, 1) for a model of one score.

Safe in several threads."""

N_PROBES: Final = 64
SHARE_MISSING: Final = 0.2


def compiled_trees(booster: Booster) -> Trees | None:
    """Its trees if they are of a known kind and give the bits that `inplace_predict` gives, else None.

    Raises DataError for trees that nobody can walk.
    """
    if not isinstance(booster, Booster):
        return None
    try:
        trees = trees_of(booster)
    except (ValueError, OverflowError, KeyError) as error:  # UnknownTreesError, or a document of another form
        log.warning("a booster is asked by inplace_predict, some 20 times slower: %r", error)
        return None
    rows = probes(trees)
    if trees.scores(rows).tobytes() == by_xgboost(booster)(rows).tobytes():
        return trees
    log.warning("a booster is asked by inplace_predict, some 20 times slower: its trees give other bits here")
    return None


def by_xgboost(booster: Booster) -> Scorer:
    """XGBoost's own way. Its scores raise ValueError for rows it does not take."""
    return lambda rows: np.asarray(booster.inplace_predict(rows), np.float32).reshape(len(rows), -1)


def probes(trees: Trees) -> Rows:
    """Rows of numbers at which the trees branch, or just below, some of them missing: shape (N_PROBES, n_features)."""
    rng = np.random.default_rng(7)
    rows = np.zeros((N_PROBES, trees.n_features), np.float32)
    is_branch = trees.branches[:, 0] >= 0
    feature, threshold = trees.branches[is_branch, 0], trees.numbers[is_branch]
    for column in np.unique(feature):
        rows[:, column] = rng.choice(threshold[feature == column], N_PROBES)
    rows[1::2] = np.nextafter(rows[1::2], np.float32(-np.inf))
    rows[rng.uniform(size=rows.shape) < SHARE_MISSING] = np.nan
    return rows

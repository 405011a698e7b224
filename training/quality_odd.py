"""Leaves out users with a value that no user can have, so that one of them stops nobody's training; counts them.

Few are noise (a client's broken clock, a hand-made event). Many are a fault of the data: then all stay, and the
expectations refuse the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from feature_repo.content_features import RANKER_FEATURES
from training.arrays import BoolArray
from training.dataset import TrainingSet
from training.quality_bounds import Bounds, Range
from training.ranking_set import RankingSet


@dataclass(frozen=True)
class Plausible:
    """Sets without odd users, and how many each lost, by model.

    features
        The features by which they were odd, sorted.
    """

    sets: dict[str, TrainingSet]
    groups: RankingSet | None
    n_left_out: dict[str, int]
    features: list[str]

    def text(self) -> str:
        """What was left out, for people; empty when nobody was."""
        found = ", ".join(f"{n} of {model}" for model, n in self.n_left_out.items())
        return f"users left out with impossible values of {', '.join(self.features)}: {found}" if found else ""


def plausible(sets: Mapping[str, TrainingSet], groups: RankingSet | None, bounds: Bounds, *, ranker: str) -> Plausible:
    """The sets without users who have a feature out of its bounds.

    Of a set whose share of such users is above `bounds.max_odd_users` (one user is always let pass) nobody is left out.
    Raises DataError when the bounds say nothing of a feature.
    """
    kept, n_left_out, names = dict(sets), dict[str, int](), set[str]()
    for model, data in sets.items():
        limits = {name: bounds.of_feature(name).between for name in data.features}
        is_odd, by = _odd(data.rows.x, limits)
        users = data.users["user_id"]
        if odd := _few(users, is_odd, bounds):
            kept[model] = data.where(~users.isin(odd).to_numpy(bool))
            n_left_out[model] = len(odd)
            names |= by
    if groups is not None:
        limits = {name: bounds.of_ranker_feature(name).between for name in RANKER_FEATURES}
        is_odd, by = _odd(groups.x, limits)
        of_group = np.bincount(groups.group[is_odd], minlength=len(groups.groups)) > 0
        users = groups.groups["user_id"]
        if odd := _few(users, of_group, bounds):
            groups = groups.where(~users.isin(odd).to_numpy(bool))
            n_left_out[ranker] = len(odd)
            names |= by
    return Plausible(kept, groups, n_left_out, sorted(names))


def _odd(x: np.ndarray, limits: Mapping[str, Range | None]) -> tuple[BoolArray, set[str]]:
    """Which rows have a value out of its limits, shape (n_rows,), and of which features; NaN is none."""
    is_odd, by = np.zeros(len(x), bool), set()
    for column, (name, between) in enumerate(limits.items()):
        if between is None:
            continue
        is_out = (x[:, column] < between[0]) | (x[:, column] > between[1])
        if is_out.any():
            is_odd |= is_out
            by.add(name)
    return is_odd, by


def _few(users: pd.Series, is_odd: BoolArray, bounds: Bounds) -> set[str]:
    """The odd users, if they are few enough to be left out."""
    odd = set(users[is_odd])
    return odd if len(odd) <= max(1, bounds.max_odd_users * users.nunique()) else set()

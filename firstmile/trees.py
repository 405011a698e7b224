"""XGBoost's trees as arrays, walked by compiled code: what the booster says of a few rows, bit for bit.

For one row XGBoost takes some 30 µs to find out what it was asked, and a few to walk. The trees here are the booster's
own, read from its JSON; sums are made in its order and in its 32 bits, and its exp is the C library's, as here.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from firstmile.compiled import compiled
from firstmile.errors import DataError

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

MARGIN, LOGISTIC, SOFTMAX = 0, 1, 2
LINKS: Final = {
    "binary:logistic": LOGISTIC,
    "multi:softprob": SOFTMAX,
    "rank:ndcg": MARGIN,
    "rank:pairwise": MARGIN,
    "reg:squarederror": MARGIN,
}
"""How an objective's sums become scores."""
IS_BELOW: Final = 0
"""XGBoost's split_type of `value < threshold`."""


class UnknownTreesError(ValueError):
    """A booster of a kind that is not walked here."""


@dataclass(frozen=True)
class Trees:
    """All trees of a booster, their nodes one after the other.

    branches
        Shape (n_nodes, 4): feature, left, right, and where those go whose feature is missing; feature -1 = a leaf.
    numbers
        Shape (n_nodes,): thresholds, what is below goes left, and the leaves' values.
    roots, groups
        Shape (n_trees,): first node, and the class a tree speaks of.
    base
        Shape (n_groups,): what sums begin with.
    """

    branches: Ints
    numbers: Floats
    roots: Ints
    groups: Ints
    base: Floats
    link: int
    n_features: int

    def scores(self, rows: Floats) -> Floats:
        """Shape (n_rows, n_groups). Raises ValueError for rows of another shape or type.

        rows
            Shape (n_rows, n_features), NaN = missing.
        """
        if rows.ndim != 2 or rows.shape[1] != self.n_features or rows.dtype != np.float32:
            raise ValueError(f"rows of {rows.shape} {rows.dtype} for trees of (n, {self.n_features}) float32")
        return walked(rows, self.branches, self.numbers, self.roots, self.groups, self.base, self.link)


def trees_of(booster: Any) -> Trees:
    """The trees of an xgboost.Booster.

    Raises UnknownTreesError when they are of another kind: categories, DART, vector leaves, an objective not in LINKS.
    Raises DataError when their nodes do not make trees: XGBoost itself would read beyond them.
    """
    learner = orjson.loads(bytes(booster.save_raw("json")))["learner"]
    objective, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if objective not in LINKS or kind != "gbtree":
        raise UnknownTreesError(f"{kind} with {objective}")
    model, link = learner["gradient_booster"]["model"], LINKS[objective]
    trees = [_nodes(tree, booster.num_features()) for tree in model["trees"]]
    base = _base(learner["learner_model_param"], link)
    groups = np.array(model["tree_info"], np.int32)
    if len(groups) != len(trees) or ((groups < 0) | (groups >= len(base))).any():
        raise DataError(f"the booster's trees are damaged: classes {groups.tolist()[:5]}… of {len(base)}")
    sizes = np.array([len(numbers) for _, numbers in trees], np.int32)
    roots = np.cumsum(sizes, dtype=np.int32) - sizes
    for (branches, _), root in zip(trees, roots, strict=True):
        branches[branches[:, 0] >= 0, 1:] += root
    return Trees(
        np.concatenate([np.empty((0, 4), np.int32), *(branches for branches, _ in trees)]),
        np.concatenate([np.empty(0, np.float32), *(numbers for _, numbers in trees)]),
        roots,
        groups,
        base,
        link,
        booster.num_features(),
    )


def _nodes(tree: dict[str, Any], n_features: int) -> tuple[Ints, Floats]:
    if set(tree["split_type"]) - {IS_BELOW} or int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise UnknownTreesError("trees with categories or vector leaves")
    left, right = (np.array(tree[f"{side}_children"], np.int32) for side in ("left", "right"))
    blind = np.where(np.array(tree["default_left"], bool), left, right)
    feature = np.where(left < 0, -1, np.array(tree["split_indices"], np.int32))
    _check(feature, np.concatenate([left[left >= 0], right[left >= 0]]), len(left), n_features)
    return np.column_stack([feature, left, right, blind]).astype(np.int32), np.array(tree["split_conditions"], "f4")


def _check(feature: Ints, children: Ints, n_nodes: int, n_features: int) -> None:
    """Every branch leads on to nodes there are, none of them twice and none to the root: so every walk ends."""
    is_tree = ((children > 0) & (children < n_nodes)).all() and len(np.unique(children)) == len(children)
    if not is_tree or not n_nodes or (feature >= n_features).any():
        raise DataError("the booster's trees are damaged: a branch leads nowhere, or asks for a feature there is not")


def _base(parameters: dict[str, Any], link: int) -> Floats:
    """What sums begin with; XGBoost writes down the probability that it stands for."""
    given = np.array(orjson.loads(parameters["base_score"]), np.float32).reshape(-1)
    if link == LOGISTIC:  # in XGBoost's order, each step rounded to 32 bits
        given = np.array([-math.log(odds) for odds in (np.float32(1) / given - np.float32(1)).tolist()], np.float32)
    return np.array(np.broadcast_to(given, max(int(parameters["num_class"]), 1)))


@compiled
def walked(rows: Floats, branches: Ints, numbers: Floats, roots: Ints, groups: Ints, base: Floats, link: int) -> Floats:
    """Scores of rows; all else as Trees has it, link 0 the sums, 1 the logistic function of them, 2 their softmax."""
    n_groups = len(base)
    out = np.empty((len(rows), n_groups), np.float32)
    for row in range(len(rows)):
        out[row] = base
        for tree in range(len(roots)):
            at = roots[tree]
            while branches[at, 0] >= 0:
                value = rows[row, branches[at, 0]]
                if np.isnan(value):
                    at = branches[at, 3]
                elif value < numbers[at]:
                    at = branches[at, 1]
                else:
                    at = branches[at, 2]
            out[row, groups[tree]] += numbers[at]
        if link == 1:
            for group in range(n_groups):
                out[row, group] = np.float32(1) / (np.exp(-out[row, group]) + np.float32(1))
        elif link == 2:
            most, whole = out[row].max(), 0.0
            for group in range(n_groups):
                out[row, group] = np.exp(out[row, group] - most)
                whole += out[row, group]
            for group in range(n_groups):
                out[row, group] /= np.float32(whole)
    return out

"""The two that learn side by side, example by example, behind one interface: a logistic regression and a tree.

Both come from river and are seeded. The tree adapts itself to drift: a branch whose error rises grows an alternative
beside it, which takes its place when it is better; the regression forgets by its constant step.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from river import linear_model, optim, preprocessing, tree
from river.tree.nodes.branch import DTBranch

from training.online_scorer import clip, compress

Known = Mapping[str, float]
"""The features that are known, by name."""

STEP: Final = 0.01
L2: Final = 1e-4
GRACE_PERIOD: Final = 100
DELTA: Final = 1e-4
"""Looser than river's 1e-7: an onboarding sees thousands of decisions a day, not millions."""
MAX_DEPTH: Final = 6
"""At most 64 leaves, each with statistics per feature: some 30 MB at the most."""


class OnlineModel(Protocol):
    """Learns whether a recommended content is opened."""

    def probability(self, known: Known) -> float:
        """Of an open; in (0, 1)."""
        ...

    def learn(self, known: Known, is_opened: bool) -> None:
        """Learn one example."""
        ...

    def document(self, features: Sequence[str]) -> dict[str, Any]:
        """The model as plain JSON, as online_scorer.py reads it; `features` in the order of a row."""
        ...


class Logistic:
    """Logistic regression by stochastic gradient descent, on standardized signed logarithms."""

    def __init__(self) -> None:
        self._scaler = preprocessing.StandardScaler()
        self._model = linear_model.LogisticRegression(optim.SGD(STEP), l2=L2, intercept_lr=STEP)

    def probability(self, known: Known) -> float:
        """Of an open."""
        return float(self._model.predict_proba_one(self._scaled(_compressed(known)))[True])

    def learn(self, known: Known, is_opened: bool) -> None:
        """One step."""
        values = _compressed(known)
        self._scaler.learn_one(values)
        self._model.learn_one(self._scaled(values), is_opened)

    def document(self, features: Sequence[str]) -> dict[str, Any]:
        """Means, deviations and weights in the order of the features; 0 for those never seen."""
        weights, scaler = self._model.weights, self._scaler
        return {
            "kind": "logistic",
            "features": list(features),
            "means": [scaler.means.get(name, 0.0) for name in features],
            "stds": [scaler.vars.get(name, 0.0) ** 0.5 for name in features],
            "weights": [float(weights.get(name, 0.0)) for name in features],
            "intercept": float(self._model.intercept),
        }

    def _scaled(self, values: dict[str, float]) -> dict[str, float]:
        return {name: clip(z) for name, z in self._scaler.transform_one(values).items()}


class AdaptiveTree:
    """Hoeffding adaptive tree; a leaf answers with the share of opens among its examples.

    Not with naive Bayes, river's default: features that say much the same make it far too sure of itself. Nor by
    river's own predict_proba_one, in which alternatives still being tried have a say: a branch could not be written
    down plainly.
    Source: Bifet and Gavaldà, Adaptive Learning from Evolving Data Streams, 2009.
    """

    def __init__(self, seed: int) -> None:
        self._model = tree.HoeffdingAdaptiveTreeClassifier(
            grace_period=GRACE_PERIOD, delta=DELTA, max_depth=MAX_DEPTH, leaf_prediction="mc", seed=seed
        )

    @property
    def n_alternatives(self) -> int:
        """Branches grown so far beside one in use, whatever became of them."""
        return int(self._model.n_alternate_trees)

    def probability(self, known: Known) -> float:
        """Of an open."""
        root = self._model._root
        if root is None:
            return 0.5
        return _share(DTBranch.traverse(root, known) if isinstance(root, DTBranch) else root)

    def learn(self, known: Known, is_opened: bool) -> None:
        """One example, weighted at random as online bagging does."""
        self._model.learn_one(known, is_opened)

    def document(self, features: Sequence[str]) -> dict[str, Any]:
        """The branches in use, alternatives left out."""
        nodes: list[dict[str, Any]] = []
        root = self._model._root
        if root is None:
            nodes.append({"probability": 0.5})
        else:
            _add(root, list(features), nodes)
        return {"kind": "tree", "features": list(features), "nodes": nodes}


def fresh(seed: int) -> dict[str, OnlineModel]:
    """Both models by name, having learned nothing."""
    return {"logistic": Logistic(), "tree": AdaptiveTree(seed)}


def known(features: Sequence[str], row: Sequence[float]) -> dict[str, float]:
    """The features of a row that are known.

    >>> known(["n_pages", "n_contents"], [2.0, math.nan])
    {'n_pages': 2.0}
    """
    return {name: value for name, value in zip(features, row, strict=True) if not math.isnan(value)}


def _compressed(values: Known) -> dict[str, float]:
    return {name: compress(value) for name, value in values.items()}


def _share(node: Any) -> float:
    """Share of opens among a node's examples, one of each kind added: no leaf is ever certain."""
    return float((node.stats.get(True, 0.0) + 1.0) / (sum(node.stats.values()) + 2.0))


def _add(node: Any, features: list[str], nodes: list[dict[str, Any]]) -> int:
    """Append a node and everything below it; its place."""
    place = len(nodes)
    if not isinstance(node, DTBranch):
        nodes.append({"probability": _share(node)})
        return place
    branch: dict[str, Any] = {"feature": features.index(node.feature), "threshold": float(node.threshold)}
    nodes.append(branch)
    usual, _ = node.most_common_path()
    branch["left"], branch["right"] = (_add(child, features, nodes) for child in node.children)
    branch["usual"] = ("left", "right")[usual]
    return place

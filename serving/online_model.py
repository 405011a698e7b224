"""The online learner's model as serving asks it: from its plain JSON, without river, in the place of a booster.

`firstmile learn` registers one of two kinds (features in the order of the vector; NaN = not known):

    logistic   {"kind", "features", "means", "stds", "weights", "intercept"}: of the features' signed log1p, each kept
               within MAX_Z deviations; what is not known counts as average
    tree       {"kind", "features", "nodes": [{"feature", "threshold", "left", "right", "usual"} | {"probability"}]};
               what is not known follows the branch most examples went

It says how likely a recommendation is opened, of the user alone: it has not seen which content was recommended, so it
cannot rank. In its arm, rules hear it as models.content_open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from firstmile.errors import DataError

FILE: Final = "model.json"
MAX_Z: Final = 5.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticModel:
    """Logistic regression; arrays of shape (n_features,), a deviation of 0 = never seen to vary."""

    feature_names: tuple[str, ...]
    means: Floats
    stds: Floats
    weights: Floats
    intercept: float

    def inplace_predict(self, rows: NDArray[np.floating[Any]]) -> Floats:
        """Probabilities, shape (n_rows,), of rows of shape (n_rows, n_features)."""
        values = np.asarray(rows, np.float64)
        compressed = np.copysign(np.log1p(np.abs(values)), values)
        is_known = ~np.isnan(values) & (self.stds > 0)
        z = np.clip((compressed - self.means) / np.where(self.stds > 0, self.stds, 1.0), -MAX_Z, MAX_Z)
        logits = self.intercept + np.where(is_known, z, 0.0) @ self.weights
        return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float64)


@dataclass(frozen=True)
class TreeModel:
    """The branches and leaves of a tree; a node's place in `nodes` is its name, 0 the root."""

    feature_names: tuple[str, ...]
    nodes: Sequence[Mapping[str, Any]]

    def inplace_predict(self, rows: NDArray[np.floating[Any]]) -> Floats:
        """Probabilities, shape (n_rows,), of rows of shape (n_rows, n_features)."""
        return np.array([self._one(row) for row in np.asarray(rows, np.float64).tolist()], np.float64)

    def _one(self, row: list[float]) -> float:
        node = self.nodes[0]
        while "feature" in node:
            value = row[node["feature"]]
            is_known = value == value  # NaN is not itself
            side = ("left" if value <= node["threshold"] else "right") if is_known else node["usual"]
            node = self.nodes[node[side]]
        return float(node["probability"])


def load_online_model(folder: Path) -> LogisticModel | TreeModel:
    """The model of a downloaded version. Raises DataError when there is none, or one that is not understood."""
    path = next(folder.rglob(FILE), folder / FILE)
    try:
        said = orjson.loads(path.read_bytes())
        features = tuple(str(name) for name in said["features"])
        if said["kind"] == "tree":
            return TreeModel(features, _checked(said["nodes"], len(features)))
        if said["kind"] != "logistic":
            raise ValueError(f"its kind is {said['kind']!r}, not logistic or tree")
        means, stds, weights = (np.array(said[name], np.float64) for name in ("means", "stds", "weights"))
        if not means.shape == stds.shape == weights.shape == (len(features),):
            raise ValueError(f"means, stds and weights are not {len(features)} each, as the features are")
        return LogisticModel(features, means, stds, weights, float(said["intercept"]))
    except (OSError, orjson.JSONDecodeError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} holds no online model that serving understands: {error!r}") from error


def _checked(nodes: list[dict[str, Any]], n_features: int) -> list[dict[str, Any]]:
    """The nodes, of which every branch leads on, to a later node. Raises ValueError or KeyError otherwise."""
    for at, node in enumerate(nodes):
        if "feature" not in node:
            float(node["probability"])
            continue
        if not (0 <= node["feature"] < n_features and node["usual"] in ("left", "right")):
            raise ValueError(f"node {at} asks for a feature or goes to a side that there is not")
        if not all(at < node[side] < len(nodes) for side in ("left", "right")):
            raise ValueError(f"node {at} does not lead on to later nodes")
        float(node["threshold"])
    if not nodes:
        raise ValueError("it has no nodes")
    return nodes

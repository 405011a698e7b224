"""What an online model says to a row, from its plain-JSON form: no river, no pickle, nothing of ours.

MLflow ships this file with each registered version, as the loader of its Python flavour. `model.json` holds either

    logistic   {"kind", "features", "means", "stds", "weights", "intercept"}: of the features' signed log1p
    tree       {"kind", "features", "nodes": [{"feature", "threshold", "left", "right", "usual"} | {"probability"}]}

A feature that is not known (NaN) counts as average to the logistic regression, and follows the branch most examples
went (`usual`) in the tree.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MAX_Z = 5.0
"""Standard deviations a value may lie off. A feature that was 0 for 10,000 examples is 100 off when first seen: its one
example would outweigh all before it."""


def compress(value: float) -> float:
    """Signed log1p: counts are heavy-tailed.

    >>> compress(0.0), round(compress(-math.e + 1), 3)
    (0.0, -1.0)
    """
    return math.copysign(math.log1p(abs(value)), value)


def clip(z: float) -> float:
    """A standardized value kept within MAX_Z.

    >>> clip(-7.0), clip(1.5)
    (-5.0, 1.5)
    """
    return max(-MAX_Z, min(MAX_Z, z))


def sigmoid(logit: float) -> float:
    """Probability of a logit, for any finite one.

    >>> sigmoid(0.0), sigmoid(-1000.0)
    (0.5, 0.0)
    """
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))


def probability(document: Mapping[str, Any], row: Sequence[float]) -> float:
    """Probability that the user opens a recommended content.

    document
        As in `model.json`.
    row
        Shape (n_features,), in the order of document["features"], NaN = not known.
    """
    return _tree(document["nodes"], row) if document["kind"] == "tree" else _logistic(document, row)


def _logistic(document: Mapping[str, Any], row: Sequence[float]) -> float:
    logit = document["intercept"]
    columns = zip(row, document["means"], document["stds"], document["weights"], strict=True)
    for value, mean, std, weight in columns:
        if std > 0 and not math.isnan(value):
            logit += weight * clip((compress(value) - mean) / std)
    return sigmoid(logit)


def _tree(nodes: Sequence[Mapping[str, Any]], row: Sequence[float]) -> float:
    node = nodes[0]
    while "feature" in node:
        value = row[node["feature"]]
        side = node["usual"] if math.isnan(value) else "left" if value <= node["threshold"] else "right"
        node = nodes[node[side]]
    return float(node["probability"])


class Scorer:
    """What `mlflow.pyfunc.load_model` gives: `predict(frame)`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def predict(self, model_input: Any, params: Any = None) -> np.ndarray:
        """Probabilities, shape (n_rows,), of a frame with the features as columns."""
        columns = list(self.document["features"])
        rows = pd.DataFrame(model_input)[columns].to_numpy(np.float64)
        return np.array([probability(self.document, row) for row in rows.tolist()], np.float64)


def _load_pyfunc(path: str) -> Scorer:
    """MLflow's entry: the folder (or file) that was logged."""
    place = Path(path)
    return Scorer(json.loads((place if place.is_file() else place / "model.json").read_text(encoding="utf-8")))

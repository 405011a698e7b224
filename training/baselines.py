"""What the models are held against: one column, total clicks so far, and always answering the shares of training."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.dataset import TrainingSet
from training.evaluate import ONE_COLUMN, class_shares, column_sign
from training.split import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Baselines:
    """What the baselines learned from one set.

    one_column_sign
        1 if more clicks mean class 1, -1 if fewer.
    shares
        Shares of the classes by day, shape (n_classes,) each.
    """

    one_column_sign: int
    shares: dict[int, list[float]]

    def majority(self, day: IntArray) -> FloatArray:
        """The shares of each row's day, shape (n_rows, n_classes)."""
        return np.array([self.shares[int(d)] for d in day], np.float64)

    def as_json(self) -> str:
        """The artifact's text."""
        return json.dumps(asdict(self), indent=1)


def baselines_of(data: TrainingSet, train: BoolArray | None = None) -> Baselines:
    """The baselines of the chosen rows of a set, all of them by default."""
    rows = data.rows if train is None else data.rows.where(train)
    day = data.users["day"].to_numpy(np.int64) if train is None else data.users["day"].to_numpy(np.int64)[train]
    n_classes = len(data.task.classes)
    shares = {
        int(d): class_shares(rows.y[day == d], rows.weight[day == d], n_classes).tolist()
        for d in np.unique(data.users["day"].to_numpy(np.int64))
    }
    return Baselines(column_sign(rows.x[:, data.features.index(ONE_COLUMN)], rows.y), shares)


def read_baselines(text: str) -> Baselines:
    """The inverse of `Baselines.as_json`.

    >>> read_baselines(Baselines(-1, {7: [0.5, 0.5]}).as_json())
    Baselines(one_column_sign=-1, shares={7: [0.5, 0.5]})
    """
    said: dict[str, Any] = json.loads(text)
    return Baselines(int(said["one_column_sign"]), {int(day): shares for day, shares in said["shares"].items()})

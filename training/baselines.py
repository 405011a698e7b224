"""What the models are held against: one column, total clicks so far, and always answering the shares of training."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from firstmile.errors import DataError
from training.arrays import BoolArray, FloatArray, IntArray
from training.dataset import TrainingSet
from training.evaluate import ONE_COLUMN, class_shares, column_signs


@dataclass(frozen=True)
class Baselines:
    """What the baselines learned from one set.

    one_column_signs
        Of each class: 1 if more clicks mean it, -1 if fewer; none in baselines older than this.
    shares
        Shares of the classes by day, shape (n_classes,) each.
    """

    one_column_signs: tuple[int, ...]
    shares: dict[int, list[float]]

    def majority(self, day: IntArray) -> FloatArray:
        """The shares of each row's day, shape (n_rows, n_classes). Raises DataError for a day nobody was taught at."""
        if unknown := sorted({*day.tolist()} - {*self.shares}):
            raise DataError(f"it knows the shares of days {', '.join(map(str, self.shares))}, not of day {unknown[0]}")
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
    return Baselines(column_signs(rows.x[:, data.features.index(ONE_COLUMN)], rows.y, n_classes), shares)


def read_baselines(text: str) -> Baselines:
    """The inverse of `Baselines.as_json`.

    >>> read_baselines(Baselines((1, -1), {7: [0.5, 0.5]}).as_json())
    Baselines(one_column_signs=(1, -1), shares={7: [0.5, 0.5]})
    """
    said: dict[str, Any] = json.loads(text)
    shares = {int(day): each for day, each in said["shares"].items()}
    signs = tuple(map(int, said.get("one_column_signs", ())))
    # Older ones have one sign, of class 1, and mean nothing by it where there are more than two.
    if not signs and all(len(each) == 2 for each in shares.values()):
        signs = (-int(said["one_column_sign"]), int(said["one_column_sign"]))
    return Baselines(signs, shares)

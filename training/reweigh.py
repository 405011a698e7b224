"""Reweighing: every combination of group and label weighs what it would if the label did not depend on the group.

Source: F. Kamiran, T. Calders, "Data preprocessing techniques for classification without discrimination", Knowledge and
Information Systems 33 (2012), section 5.3: w(group, label) = P(group) · P(label) / P(group, label).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd
from rich.table import Table

from firstmile.errors import UsageError, unknown_name
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from training.arrays import FloatArray, IntArray, TextArray
from training.dataset import TrainingSet
from training.figures import Figures, mean_over_days
from training.models import Rows
from training.slices import UNKNOWN

COMPARED: Final = ("auc", "log_loss", "ece")


def check_attribute(attribute: str) -> None:
    """Raises UsageError for an attribute nobody audits, naming those that are."""
    if attribute not in AUDIT_ATTRIBUTES:
        raise UsageError(unknown_name("audited attribute", attribute, AUDIT_ATTRIBUTES))


def groups_in(data: TrainingSet, audit: pd.DataFrame, attribute: str) -> TextArray:
    """The group of each row, shape (n_rows,); the attribute itself stays outside of what the model reads.

    audit
        As `slices.audit_of` gives it.
    """
    return np.asarray(audit[attribute].reindex(data.users["user_id"]).fillna(UNKNOWN).to_numpy(str))


def reweighed(rows: Rows, group: TextArray) -> Rows:
    """Rows that teach, their weights multiplied. Of these alone: with the labels of who is examined in the weights, the
    examination would not be of people unseen."""
    return replace(rows, weight=rows.weight * factors(group, rows.y, rows.weight))


def factors(group: TextArray, y: IntArray, weight: FloatArray) -> FloatArray:
    """What each row's weight is multiplied by, shape (n,): in the result group and label are independent.

    >>> factors(np.array(["a", "a", "b", "b"]), np.array([1, 1, 1, 0]), np.ones(4)).tolist()
    [0.75, 0.75, 1.5, 0.5]
    """
    _, g = np.unique(group, return_inverse=True)
    _, k = np.unique(y, return_inverse=True)
    table = np.zeros((g.max() + 1, k.max() + 1))
    np.add.at(table, (g, k), weight)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return np.asarray(np.divide(expected, table, out=np.ones_like(table), where=table > 0)[g, k], np.float64)


def effect(
    days: Sequence[int], attribute: str, before: Mapping[int, Figures], after: Mapping[int, Figures]
) -> dict[str, dict[str, float]]:
    """Figures without and with reweighing: the attribute's gaps, AUC, log loss, calibration; means over judged days."""
    gaps = sorted({n for found in before.values() for n in found if n.startswith("gap_") and n.endswith(attribute)})
    return {
        name: {"before": mean_over_days(before, name, days), "after": mean_over_days(after, name, days)}
        for name in (*gaps, *COMPARED)
    }


def effect_table(model: str, days: Sequence[int], attribute: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """For people."""
    title = f"{model}, reweighed by {attribute} × label; mean of days {', '.join(map(str, days))}"
    table = Table(title=title, title_justify="left")
    for heading in ("figure", "before", "after"):
        table.add_column(heading)
    for name, values in found.items():
        table.add_row(name, f"{values['before']:.4f}", f"{values['after']:.4f}")
    return table

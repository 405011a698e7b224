"""Labelled users of one model at one or more days, and the counting of those who are left out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

Counts = Counter[str]
Users = pd.DataFrame
NOT_JUDGED: Final = -1


@dataclass(frozen=True)
class Labelled:
    """Users of one model at one or more days.

    rows
        Columns user_id, cohort, person, day, label (index into the task's classes), judged_label (what the
        gates judge by, NOT_JUDGED without one), until_day (the day at whose end the label is known), now_us (the last
        microsecond of `day`).
    counts
        Per day: `population`, `rows`, and `left_out:<why>` or `<what>` for what needed a decision.
    """

    rows: pd.DataFrame
    counts: dict[int, Counts] = field(default_factory=dict)


def leave_out(users: Users, why: Mapping[str, "pd.Series[bool]"]) -> tuple[Users, Counts]:
    """Users without those any mask names; each counted once, under the first mask that names him."""
    keep = np.ones(len(users), dtype=bool)
    counts: Counts = Counter()
    for reason, mask in why.items():
        out = keep & mask.to_numpy(dtype=bool)
        counts[f"left_out:{reason}"] = int(out.sum())
        keep &= ~out
    return users[keep], counts


def labelled(users: Users, labels: npt.ArrayLike, until_day: npt.ArrayLike, counts: Counts) -> tuple[Users, Counts]:
    """Users with their label and the last day it looked at, and their number among the counts."""
    until = np.broadcast_to(np.asarray(until_day, dtype=np.int64), len(users))
    rows = users.assign(label=np.asarray(labels, dtype=np.int64), until_day=until)
    counts["rows"] = len(rows)
    return rows, counts

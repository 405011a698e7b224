"""Who is being onboarded at the end of a day, and who is left out of it and why. A population looks at no later day."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from firstmile.oulad import OuladTables

Counts = Counter[str]
Users = pd.DataFrame


def population(tables: OuladTables, day: int) -> tuple[Users, Counts]:
    """Who is being onboarded at the end of `day`: registered by then and not unregistered by then.

    Columns user_id, presentation, id_student. Without a date of registration nobody knows: left out, counted.
    """
    users: pd.DataFrame = tables.registrations.to_pandas()
    registered, unregistered = users["date_registration"], users["date_unregistration"]
    why = {
        "registration date missing": registered.isna(),
        "registered later": registered > day,
        "unregistered by then": unregistered <= day,
    }
    kept, counts = leave_out(users, why)
    counts["population"] = len(kept)
    return kept[["user_id", "presentation", "id_student"]], counts


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


def course_ends(tables: OuladTables) -> dict[str, int]:
    """The last day of each presentation."""
    courses = tables.courses.to_pydict()
    return dict(zip(courses["presentation"], courses["module_presentation_length"], strict=True))

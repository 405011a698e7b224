"""Who is being onboarded at the end of a day, and who is left out of it and why. A population looks at no later day."""

from typing import Final

import pandas as pd

from examples.oulad.tables.tables import OuladTables
from training.labelled import Counts, Users, leave_out

NAMES: Final = {"presentation": "cohort", "id_student": "person"}
"""What training calls the tables' columns."""


def population(tables: OuladTables, day: int) -> tuple[Users, Counts]:
    """Who is being onboarded at the end of `day`: registered by then and not unregistered by then.

    Columns user_id, cohort (the presentation), person (the student). Without a date of registration nobody knows:
    left out, counted.
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
    return kept.rename(columns=NAMES)[["user_id", *NAMES.values()]], counts


def course_ends(tables: OuladTables) -> dict[str, int]:
    """The last day of each presentation."""
    courses = tables.courses.to_pydict()
    return dict(zip(courses["presentation"], courses["module_presentation_length"], strict=True))

"""The demo's calendar: courses begin on 1 February or 1 October, and were recorded as they ran."""

from datetime import date
from pathlib import Path
from typing import Final

from examples.oulad.tables.tables import module_of, start_date


class Calendar:
    """As training/cohorts.py asks for it."""

    pattern: str = r"^([A-Z]+_\d{4}[BJ])-\d+$"
    days: int = 300  # no course is longer than 269: what is later was played live

    def begins_on(self, cohort: str) -> date:
        """Day 0 of a presentation. Raises DataError for a name of another form."""
        return start_date(cohort)

    def track(self, cohort: str) -> str:
        """The course, as AAA."""
        return module_of(cohort)


CALENDAR: Final = Calendar()


def calendar(folder: Path) -> Calendar:
    """The hook of labels.yaml."""
    return CALENDAR

"""Makes the catalogue of each course: the pages of a presentation, for the hook `shelves` of content.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from examples.oulad.tables.columns import read_columns
from examples.oulad.tables.tables import content_format
from firstmile.errors import DataError

NO_WEEK: Final = 10_000
"""Pages without a week come after those with one."""


def course_pages(
    *, folder: Path, data: str, url: str, titles: Mapping[str, str], other_title: str, levels: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """The pages of every presentation as content, by week, then by site; home pages are left out.

    folder
        Of content.yaml; `data`, the folder of the tables, is from there.
    url
        With {presentation} and {site} in it.
    titles, levels
        By activity type, and by format: the data knows neither.

    Raises DataError when the pages cannot be read, or the url has something else in braces.
    """
    table = read_columns(
        folder / data,
        "vle",
        {
            "code_module": "text",
            "code_presentation": "text",
            "id_site": "int",
            "activity_type": "text",
            "week_from": "optional_int",
        },
    )
    by_cohort: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
    for row in table.to_pylist():
        kind = content_format(row["activity_type"])
        if kind is None:
            continue
        cohort, site, week = f"{row['code_module']}_{row['code_presentation']}", row["id_site"], row["week_from"]
        item = {
            "content_id": str(site),
            "title": f"{titles.get(row['activity_type'], other_title)} {site}",
            "format": kind,
            "level": levels.get(kind),
            "step": None if week is None else f"week-{week}",
            "url": _url(url, cohort, site),
        }
        by_cohort.setdefault(cohort, []).append((NO_WEEK if week is None else week, site, item))
    return {c: [item for *_, item in sorted(rows, key=lambda r: r[:2])] for c, rows in sorted(by_cohort.items())}


def _url(form: str, presentation: str, site: int) -> str:
    try:
        return form.format(presentation=presentation, site=site)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        message = f"url {form!r} has something else in braces than {{presentation}} and {{site}}"
        raise DataError(message) from error

"""What the offline history holds of the demo's courses: which presentations, and until when."""

import json
from collections.abc import Collection, Mapping, Sequence

from examples.oulad.tables.calendar import CALENDAR
from examples.oulad.tables.tables import day_start_us
from feature_repo.fields import ACTIVITY
from firstmile.clock import to_datetime
from firstmile.errors import DataError
from firstmile.settings import Settings
from training.labelled import Labelled
from training.quality_files import ask

REMEDY = "run `firstmile backfill oulad --data DIR` first"

MANIFEST = "oulad.json"
"""What the backfill notes beside the history: the days it was asked for, per presentation."""

_PRESENTATIONS = f"""
SELECT DISTINCT regexp_extract(user_id, '{CALENDAR.pattern}', 1) AS cohort
FROM read_parquet($1, union_by_name = true) WHERE regexp_matches(user_id, '{CALENDAR.pattern}') ORDER BY cohort
"""
_ENDS = f"""
SELECT recorded.cohort, max(epoch_us(event_timestamp)) AS end_us
FROM read_parquet($1, union_by_name = true) AS history
JOIN recorded ON regexp_extract(history.user_id, '{CALENDAR.pattern}', 1) = recorded.cohort
WHERE epoch_us(event_timestamp) <= recorded.end_us GROUP BY recorded.cohort ORDER BY recorded.cohort
"""


def history_ends_us(settings: Settings) -> dict[str, int]:
    """Time of the last row of each presentation in the offline history, µs.

    Rows of learners who were played live, under a shifted calendar, do not count: their history ended when it did.

    Raises DataError when there is no history.
    """
    folder = settings.history / ACTIVITY
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise DataError(f"there is no history to learn from: {folder} holds no Parquet file; {REMEDY}")
    names = [str(name) for name in ask(_PRESENTATIONS, files)["cohort"]]
    found = ask(_ENDS, files, names, recorded_days=CALENDAR.days)
    return {str(name): int(us) for name, us in zip(found["cohort"], found["end_us"], strict=True)}


def whole(settings: Settings) -> set[str]:
    """Presentations the backfill was asked for to their last day: nothing more of them will come."""
    path = settings.history / MANIFEST
    noted = json.loads(path.read_text(encoding="utf-8"))["presentations"] if path.exists() else {}
    return {name for name, days in noted.items() if days["to_day"] is None}


def choose(ends_us: dict[str, int], wanted: Sequence[str] | None, *, last_day: int) -> list[str]:
    """The presentations to train on: the wanted ones, or all there are.

    ends_us
        As `history_ends_us` gives it.
    last_day
        The last day a snapshot is taken.

    Raises DataError when a wanted one is not in the history, or its history stops before `last_day`: a snapshot past
    the end would show an idle user where nobody has looked.
    """
    missing = sorted(set(wanted or ()) - set(ends_us))
    if missing:
        raise DataError(
            f"the history has no {', '.join(missing)}; it has {', '.join(ends_us) or 'none'}. "
            "Choose among these, or backfill what is missing: firstmile backfill oulad --data DIR "
            f"--presentations {','.join(missing)}"
        )
    chosen = sorted(set(wanted)) if wanted else list(ends_us)
    for name in chosen:
        if ends_us[name] < day_start_us(name, last_day):
            raise DataError(
                f"the history of {name} ends at {to_datetime(ends_us[name]):%Y-%m-%d %H:%M}, before day {last_day}, "
                "the last day a snapshot is taken; backfill the whole presentation"
            )
    return chosen


def refuse_future(
    labelled: Mapping[str, Labelled], ends_us: Mapping[str, int], *, complete: Collection[str] = ()
) -> None:
    """Refuse labels that look past what has happened: of such a future only the files know.

    labelled
        By model.
    ends_us, complete
        As `history_ends_us` and `whole` give them; of a complete presentation everything has happened.

    Raises DataError naming model, presentation and the days on both sides.
    """
    for model, each in labelled.items():
        needed = each.rows.groupby("cohort")["until_day"].max()
        for name, day in needed[~needed.index.isin(list(complete))].items():
            if ends_us[str(name)] < day_start_us(str(name), int(day)):
                raise DataError(
                    f"the labels of {model} look as far as day {day} of {name}, but its history ends at "
                    f"{to_datetime(ends_us[str(name)]):%Y-%m-%d %H:%M}: that has not happened yet. Backfill the whole "
                    "presentation, wait, or train a model that looks less far: firstmile train --model …"
                )

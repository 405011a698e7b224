"""What each model should have answered, and for whom: labels and populations at day N of an onboarding.

First step of training: OULAD tables -> labelled users, before any feature is looked at. A label may look past day N,
a population may not. Everybody left out is counted with the reason.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from examples.oulad.learning.population import course_ends, population
from examples.oulad.learning.preference import preference
from examples.oulad.tables.tables import OuladTables, day_end_us
from firstmile.errors import DataError, unknown_name
from training.labelled import NOT_JUDGED, Counts, Labelled, Users, labelled, leave_out
from training.tasks import TASKS

PASS_SCORE: Final = 40.0
DISENGAGED_DAYS: Final = 14
BEGINNER_BELOW: Final = 60.0
ADVANCED_ABOVE: Final = 80.0
MARKING_DELAY_DAYS: Final = 14
"""Days from a hand-in to its score being known; the default of labels.yaml's."""


def label(
    model: str,
    tables: OuladTables,
    *,
    days: Sequence[int] | None = None,
    marking_delay_days: int = MARKING_DELAY_DAYS,
) -> Labelled:
    """The model's labelled users at each of its snapshot days (or at `days`), stacked.

    marking_delay_days
        From a hand-in to its score: a label made of scores is known so much later.

    Raises DataError for an unknown model, or when the tables cannot carry its label.
    """
    if model not in TASKS:
        raise DataError(unknown_name("model", model, TASKS))
    chosen = TASKS[model].snapshot_days if days is None else days
    parts = {day: _at(model, tables, day, marking_delay_days) for day in chosen}
    frames = [rows.assign(day=day)[_COLUMNS] for day, (rows, _) in parts.items()]
    rows = pd.concat(frames, ignore_index=True).sort_values(["user_id", "day"], ignore_index=True)
    ends = {(p, day): day_end_us(p, day) for p in set(rows["cohort"]) for day in parts}
    at = [ends[pair] for pair in zip(rows["cohort"], rows["day"], strict=True)]
    rows["now_us"] = np.array(at, np.int64)
    return Labelled(rows, {day: counts for day, (_, counts) in parts.items()})


def activation(tables: OuladTables, day: int, *, marking_delay_days: int = MARKING_DELAY_DAYS) -> tuple[Users, Counts]:
    """1: the presentation's earliest-due TMA is handed in on days N+1 … course end with a score of at least 40.

    Of those who have not handed it in by N; who brought its mark from an earlier attempt (banked) leaves. A hand-in
    whose score is missing has not reached it, and is counted.
    """
    users, counts = population(tables, day)
    hand_ins = _first_tma_hand_ins(tables)
    banked = set(hand_ins.loc[hand_ins["is_banked"], "user_id"])
    hand_ins = hand_ins[~hand_ins["is_banked"]]
    done = set(hand_ins.loc[hand_ins["date_submitted"] <= day, "user_id"])
    users, out = leave_out(
        users, {"banked": users["user_id"].isin(banked), "handed in by then": users["user_id"].isin(done)}
    )
    later = hand_ins[
        (hand_ins["date_submitted"] > day)
        & (hand_ins["date_submitted"] <= hand_ins["presentation"].map(course_ends(tables)))
    ]
    reached = later.loc[later["score"] >= PASS_SCORE, "user_id"]
    out["score missing, not reached"] = int(users["user_id"].isin(later.loc[later["score"].isna(), "user_id"]).sum())
    known = _known_from(users, later, tables, marking_delay_days)
    return labelled(users, users["user_id"].isin(reached), known, counts + out)


def disengagement(tables: OuladTables, day: int) -> tuple[Users, Counts]:
    """1: no click in days N+1 … N+14. Clicks after a learner's own unregistration are clicks.

    A presentation that is over before day N+14 cannot carry the label: its users are left out, counted.
    """
    users, counts = population(tables, day)
    until = day + DISENGAGED_DAYS
    users, out = leave_out(users, {"course over": users["cohort"].map(course_ends(tables)) < until})
    date = tables.clicks["date"]
    window = pc.and_(pc.greater(date, day), pc.less_equal(date, until))
    clicked = pc.unique(tables.clicks["user_id"].filter(window))
    silent = ~np.asarray(pc.is_in(pa.array(users["user_id"], pa.string()), clicked))
    return labelled(users, silent, until, counts + out)


def skill_level(
    tables: OuladTables,
    day: int,
    *,
    only_later_marks: bool = False,
    marking_delay_days: int = MARKING_DELAY_DAYS,
) -> tuple[Users, Counts]:
    """Mean score of all TMA and CMA marks: below 60 beginner (0), to 80 intermediate (1), above advanced (2).

    Only who has a mark. Banked marks count: a mark of this learner, whenever it was earned (on the shipped data 13
    learners have no other). only_later_marks gives the second form: marks handed in after day N alone.
    """
    users, counts = population(tables, day)
    kinds = tables.assessments.to_pandas()[["presentation", "id_assessment", "assessment_type"]]
    marks = tables.hand_ins.to_pandas().merge(kinds, on=["presentation", "id_assessment"])
    marks = marks[marks["assessment_type"].isin(["TMA", "CMA"])]
    counts["score missing"] = int(marks.loc[marks["score"].isna(), "user_id"].isin(users["user_id"]).sum())
    if only_later_marks:
        marks = marks[marks["date_submitted"] > day]
    marks = marks.dropna(subset=["score"])
    mean = users["user_id"].map(marks.groupby("user_id")["score"].mean())
    kept, out = leave_out(users, {"no mark": mean.isna()})
    known = _known_from(kept, marks, tables, marking_delay_days)
    return labelled(kept, skill_index(mean[kept.index].to_numpy()), known, counts + out)


def skill_index(mean_score: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Index into SKILL_LEVELS of mean scores (0-100).

    >>> skill_index(np.array([59.9, 60.0, 80.0, 80.1])).tolist()
    [0, 1, 1, 2]
    """
    return (mean_score >= BEGINNER_BELOW).astype(np.int64) + (mean_score > ADVANCED_ABOVE)


_COLUMNS = ["user_id", "cohort", "person", "day", "label", "judged_label", "until_day"]


def _at(model: str, tables: OuladTables, day: int, marking_delay_days: int) -> tuple[Users, Counts]:
    """Labelled users of a model at one day, with what the gates judge them by."""
    if model == "disengagement":
        rows, counts = disengagement(tables, day)
    elif model == "preference":
        rows, counts = preference(tables, day)
    elif model == "activation":
        rows, counts = activation(tables, day, marking_delay_days=marking_delay_days)
    else:
        rows, counts = skill_level(tables, day, marking_delay_days=marking_delay_days)
        later, _ = skill_level(tables, day, only_later_marks=True)
        judged = rows["user_id"].map(later.set_index("user_id")["label"]).fillna(NOT_JUDGED).astype(np.int64)
        return rows.assign(judged_label=judged), counts + Counts({"not judged, no later mark": int((judged < 0).sum())})
    return rows.assign(judged_label=rows["label"]), counts


def _known_from(users: Users, hand_ins: pd.DataFrame, tables: OuladTables, marking_delay_days: int) -> "pd.Series[int]":
    """The day at whose end a label made of scores is known, per user: the course is over, so that no further hand-in
    counts, and the last of theirs is marked."""
    end = users["cohort"].map(course_ends(tables))
    marked = users["user_id"].map(hand_ins.groupby("user_id")["date_submitted"].max() + marking_delay_days)
    return marked.fillna(end).clip(lower=end).astype(np.int64)


def _first_tma_hand_ins(tables: OuladTables) -> pd.DataFrame:
    """Hand-ins of each presentation's earliest-due TMA; the smaller id where two are due on one day."""
    assessments: pd.DataFrame = tables.assessments.to_pandas()
    due = assessments[(assessments["assessment_type"] == "TMA") & assessments["date"].notna()]
    first = due.sort_values(["date", "id_assessment"]).drop_duplicates("presentation")
    without = sorted(set(tables.presentations) - set(first["presentation"]))
    if without:
        raise DataError(
            f"assessments, column date: {', '.join(without)} has no TMA with a due day, so activation has no goal; "
            "leave the presentation out or complete the file"
        )
    hand_ins: pd.DataFrame = tables.hand_ins.to_pandas()
    return hand_ins[hand_ins["id_assessment"].isin(first["id_assessment"])]

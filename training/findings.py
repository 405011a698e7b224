"""Answers turned into figures: every examination, every hidden view, the label's second form, groups of people."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from training.arrays import FloatArray
from training.bootstrap import intervals
from training.dataset import TrainingSet
from training.evaluate import evaluate
from training.examine import Answers
from training.figures import DayFigures
from training.slices import Slices, gap_figures, slices
from training.split import Examination, judged_by
from training.task import Task


@dataclass(frozen=True)
class Findings:
    """What the examinations showed.

    figures
        By name of examination, or of a form of it (`later_start_later_marks`, `later_start_without_user_profile`).
    groups
        By evaluated day, of the examination the gates look at.
    """

    figures: Mapping[str, DayFigures]
    groups: Mapping[int, Slices]


def judge_of(task: Task, examination: Examination) -> str:
    """The name of the figures the gates look at.

    >>> from training.tasks import TASKS
    >>> judge_of(TASKS["activation"], "later_start"), judge_of(TASKS["skill_level"], "later_start")
    ('later_start', 'later_start_later_marks')
    """
    return f"{examination}_{task.judged_form}" if task.judged_form else examination


def find(data: TrainingSet, answers: Mapping[Examination, Answers], *, audit: pd.DataFrame, seed: int) -> Findings:
    """All figures of a set's answers."""
    figures: dict[str, DayFigures] = {}
    for name, said in answers.items():
        figures[name] = _figures(data, said, said.p, "label", seed)
        judged = judge_of(data.task, name)
        if judged != name:
            figures[judged] = _figures(data, said, said.p, "judged_label", seed)
        for view, p in said.without.items():
            figures[f"{judged}_without_{view}"] = _figures(data, said, p, "judged_label", None)
    examination = judged_by(sorted(set(data.users["cohort"])))
    groups = _groups(data, answers[examination], audit, seed)
    judge = judge_of(data.task, examination)
    for day, found in gap_figures(groups).items():
        figures[judge].setdefault(day, {}).update(found)
    return Findings(figures, groups)


def _figures(data: TrainingSet, said: Answers, p: FloatArray, label: str, seed: int | None) -> DayFigures:
    """Figures by day, with intervals when there is a seed; rows without that form of the label are left out."""
    users = data.users.iloc[said.rows]
    kept = users[label].to_numpy(np.int64) >= 0
    if not kept.any():
        return {}
    users, y = users[kept], users[label].to_numpy(np.int64)[kept]
    day, cohort = users["day"].to_numpy(np.int64), users["cohort"].to_numpy(str)
    found = evaluate(
        y,
        p[kept],
        p_one_column=said.p_one_column[kept],
        p_majority=said.p_majority[kept],
        day=day,
        cohort=cohort,
    )
    if seed is not None:
        ids = users["user_id"].to_numpy(str)
        sure = intervals(y, p[kept], day=day, cohort=cohort, users=ids, seed=seed)
        found = {at: {**figures, **sure[at]} for at, figures in found.items()}
    return found


def _groups(data: TrainingSet, said: Answers, audit: pd.DataFrame, seed: int) -> dict[int, Slices]:
    users = data.users.iloc[said.rows]
    label, day = users["judged_label"].to_numpy(np.int64), users["day"].to_numpy(np.int64)
    result = {}
    for at in data.task.evaluated_days:
        rows = (day == at) & (label >= 0)
        if rows.any():
            result[at] = slices(
                data.model,
                label[rows],
                said.p[rows],
                users=users[rows],
                audit=audit,
                seed=seed,
            )
    return result

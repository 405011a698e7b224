"""Who teaches and who examines: presentations in the order of their starts, students never on both sides.

Three examinations, all of students the model has not seen:

- `later_start`: learn from the earlier starts, be examined on the latest. A student who took both is removed from the
  earlier ones. This is the honest picture of the next start, and the gates judge by it, if an earlier start of the
  *same course* is among the chosen.
- `held_out_students`: five folds of students, each examined by a model that saw the other four, over all chosen
  presentations. The gates judge by it when the latest start is the first of its course: BBB_2013B examined on AAA_2013J
  measures the step to a course never seen (logged all the same, as `later_start`), while the registered model, refitted
  on both, will have seen that course.

- `rolling_origin`: `later_start` for each of the newest starts that has earlier ones, where there are several: whether
  the last was lucky. Logged, nothing is judged by it.

Validation, for early stopping and calibration, is kept in the same order (see `validation`): it lies inside the rows a
fit is given, so no examined student is ever in it.

What is registered is fitted once more on everything chosen, so its own figures on those rows are never reported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from firstmile.oulad import module_of, start_date

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.str_]

Examination = Literal["later_start", "rolling_origin", "held_out_students"]
N_FOLDS: Final = 5
N_ORIGINS: Final = 3
LEAST_TAUGHT: Final = 50
VALIDATION_FOLDS: Final = 5


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be examined on, shape (n_rows,) each; some rows may be in neither."""

    train: BoolArray
    test: BoolArray


@dataclass(frozen=True)
class Validation:
    """Rows of one fit, shape (n_rows,) each: to learn from, to calibrate on, to stop and choose on.

    The last two may be the same rows; no student of theirs is among those to learn from.
    """

    train: BoolArray
    calibrate: BoolArray
    judge: BoolArray


def latest_starts(presentations: Sequence[str]) -> list[str]:
    """The presentations that start last, several if they start on the same day.

    >>> latest_starts(["AAA_2013J", "BBB_2013B"])
    ['AAA_2013J']
    """
    last = max(begins_on(p) for p in presentations)
    return sorted(p for p in set(presentations) if begins_on(p) == last)


def begins_on(start: str) -> date:
    """Day 0 of a presentation, or of a product's cohort: these are all of one course, and named after it (cohorts.py).

    >>> begins_on("2026-09-14") > begins_on("AAA_2014J")
    True
    """
    return date.fromisoformat(start) if start[:1].isdigit() else start_date(start)


def judged_by(presentations: Sequence[str]) -> Examination:
    """The examination the gates look at.

    >>> judged_by(["BBB_2013B", "AAA_2013J"]), judged_by(["BBB_2013B", "AAA_2013J", "AAA_2014J"])
    ('held_out_students', 'later_start')
    """
    latest = latest_starts(presentations)
    known = {module_of(p) for p in presentations if p not in latest}
    return "later_start" if all(module_of(p) in known for p in latest) else "held_out_students"


def later_start(presentations: TextArray, students: IntArray) -> Split | None:
    """Learn from the earlier starts, be examined on the latest; None when there is only one start.

    presentations, students
        Shape (n_rows,): where each row is from and whose it is.
    """
    test = np.isin(presentations, latest_starts(sorted(set(presentations.tolist()))))
    train = ~test & ~np.isin(students, students[test])
    return Split(train, test) if train.any() else None


def rolling_origins(presentations: TextArray, students: IntArray) -> list[Split]:
    """`later_start` as it was for each of the N_ORIGINS newest dates that have earlier starts, oldest first."""
    names, of_row = np.unique(presentations, return_inverse=True)
    began = np.array([begins_on(name).toordinal() for name in names.tolist()], np.int64)[of_row]
    found = []
    for date_ in np.unique(began)[1:][-N_ORIGINS:]:
        test = began == date_
        train = (began < date_) & ~np.isin(students, students[test])
        found += [Split(train, test)] if train.any() else []
    return found


def examinations(
    presentations: TextArray, students: IntArray, *, seed: int, teaches: Callable[[Split], bool]
) -> dict[Examination, list[Split]]:
    """The splits of each examination there is; `rolling_origin`'s last one is `later_start`'s, the same object.

    teaches
        Whether what a split may learn from is enough to learn anything: an early start may be a handful of people, and
        is left out of `rolling_origin` then.
    """
    found: dict[Examination, list[Split]] = {}
    later, origins = later_start(presentations, students), rolling_origins(presentations, students)
    if later is not None:
        found["later_start"] = [later]
        earlier = [s for s in origins if not s.test[later.test].any() and has_taught(s, students) and teaches(s)]
        if earlier:
            found["rolling_origin"] = [*earlier, later]
    found["held_out_students"] = held_out_students(students, seed=seed)
    return found


def has_taught(split: Split, students: IntArray) -> bool:
    """Whether LEAST_TAUGHT students or more teach."""
    return len(np.unique(students[split.train])) >= LEAST_TAUGHT


def folds(students: IntArray, *, n_folds: int = N_FOLDS, seed: int) -> IntArray:
    """Fold 0 … n_folds - 1 of each row, shape (n_rows,): shuffled by seed, a student's rows together, sizes even."""
    unique, index = np.unique(students, return_inverse=True)
    fold_of = np.random.default_rng(seed).permutation(len(unique)) % n_folds
    return np.asarray(fold_of[index], dtype=np.int64)


def held_out_students(students: IntArray, *, seed: int) -> list[Split]:
    """One split per fold; every row is examined exactly once."""
    fold = folds(students, seed=seed)
    return [Split(fold != k, fold == k) for k in range(N_FOLDS) if (fold == k).any() and (fold != k).any()]


def validation(presentations: TextArray, students: IntArray, *, seed: int) -> Validation:
    """Rows to fit on, to calibrate on, and to stop and choose the calibration on.

    Calibration is fitted on a fifth of the students. Where an earlier start of the latest start's course is among the
    rows, stopping and choosing are left to the latest start: the next one will differ as it did. Else the same fifth
    must do: a first start of a course would measure the step to a course never seen. (Calibrating on the latest start
    alone was tried: it gives the other courses its base rates, and preference's log loss rose from 0.54 to 0.96.)
    """
    held_out = folds(students, n_folds=VALIDATION_FOLDS, seed=seed + 1) == 0
    later = later_start(presentations, students)
    if later is None or judged_by(sorted(set(presentations.tolist()))) != "later_start":
        return Validation(~held_out, held_out, held_out)
    if not (later.train & held_out).any() or not (later.train & ~held_out).any():
        return Validation(~held_out, held_out, held_out)
    return Validation(later.train & ~held_out, later.train & held_out, later.test)

"""Splits cohorts by their start into rows to learn from and rows to be examined on; nobody appears in both.

Three examinations, all of people the model has not seen:

- `later_start`: learn from the earlier starts, be examined on the latest. A person who took both is removed from the
  earlier ones. This is the honest picture of the next start, and the gates judge by it, if an earlier start of the
  *same track* (cohorts.py) is among the chosen.
- `held_out_people`: five folds of people, each examined by a model that saw the other four, over all chosen
  cohorts. The gates judge by it when the latest start is the first of its track: BBB_2013B examined on AAA_2013J
  measures the step to a track never seen (logged all the same, as `later_start`), while the registered model, refitted
  on both, will have seen that track.

- `rolling_origin`: `later_start` for each of the newest starts that has earlier ones, where there are several: whether
  the last was lucky. Logged, nothing is judged by it.

Validation, for early stopping and calibration, is kept in the same order (see `validation`): it lies inside the rows a
fit is given, so no examined person is ever in it.

What is registered is fitted once more on everything chosen, so its own figures on those rows are never reported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from training.arrays import BoolArray, IntArray, TextArray
from training.cohorts import begins_on, track_of

Examination = Literal["later_start", "rolling_origin", "held_out_people"]
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

    The last two may be the same rows; no person of theirs is among those to learn from.
    """

    train: BoolArray
    calibrate: BoolArray
    judge: BoolArray


def latest_starts(cohorts: Sequence[str]) -> list[str]:
    """The cohorts that start last, several if they start on the same day.

    >>> latest_starts(["AAA_2013J", "BBB_2013B"])
    ['AAA_2013J']
    """
    last = max(begins_on(p) for p in cohorts)
    return sorted(p for p in set(cohorts) if begins_on(p) == last)


def judged_by(cohorts: Sequence[str]) -> Examination:
    """The examination the gates look at.

    >>> judged_by(["BBB_2013B", "AAA_2013J"]), judged_by(["BBB_2013B", "AAA_2013J", "AAA_2014J"])
    ('held_out_people', 'later_start')
    """
    latest = latest_starts(cohorts)
    known = {track_of(p) for p in cohorts if p not in latest}
    return "later_start" if all(track_of(p) in known for p in latest) else "held_out_people"


def later_start(cohorts: TextArray, people: IntArray) -> Split | None:
    """Learn from the earlier starts, be examined on the latest; None when there is only one start.

    cohorts, people
        Shape (n_rows,): where each row is from and whose it is.
    """
    test = np.isin(cohorts, latest_starts(sorted(set(cohorts.tolist()))))
    train = ~test & ~np.isin(people, people[test])
    return Split(train, test) if train.any() else None


def rolling_origins(cohorts: TextArray, people: IntArray) -> list[Split]:
    """`later_start` as it was for each of the N_ORIGINS newest dates that have earlier starts, oldest first."""
    names, of_row = np.unique(cohorts, return_inverse=True)
    began = np.array([begins_on(name).toordinal() for name in names.tolist()], np.int64)[of_row]
    found = []
    for date_ in np.unique(began)[1:][-N_ORIGINS:]:
        test = began == date_
        train = (began < date_) & ~np.isin(people, people[test])
        found += [Split(train, test)] if train.any() else []
    return found


def examinations(
    cohorts: TextArray, people: IntArray, *, seed: int, teaches: Callable[[Split], bool]
) -> dict[Examination, list[Split]]:
    """The splits of each examination there is; `rolling_origin`'s last one is `later_start`'s, the same object.

    teaches
        Whether what a split may learn from is enough to learn anything: an early start may be a handful of people, and
        is left out of `rolling_origin` then.
    """
    found: dict[Examination, list[Split]] = {}
    later, origins = later_start(cohorts, people), rolling_origins(cohorts, people)
    if later is not None:
        found["later_start"] = [later]
        earlier = [s for s in origins if not s.test[later.test].any() and has_taught(s, people) and teaches(s)]
        if earlier:
            found["rolling_origin"] = [*earlier, later]
    found["held_out_people"] = held_out_people(people, seed=seed)
    return found


def has_taught(split: Split, people: IntArray) -> bool:
    """Whether LEAST_TAUGHT people or more teach."""
    return len(np.unique(people[split.train])) >= LEAST_TAUGHT


def folds(people: IntArray, *, n_folds: int = N_FOLDS, seed: int) -> IntArray:
    """Fold 0 … n_folds - 1 of each row, shape (n_rows,): shuffled by seed, a person's rows together, sizes even."""
    unique, index = np.unique(people, return_inverse=True)
    fold_of = np.random.default_rng(seed).permutation(len(unique)) % n_folds
    return np.asarray(fold_of[index], dtype=np.int64)


def held_out_people(people: IntArray, *, seed: int) -> list[Split]:
    """One split per fold; every row is examined exactly once."""
    fold = folds(people, seed=seed)
    return [Split(fold != k, fold == k) for k in range(N_FOLDS) if (fold == k).any() and (fold != k).any()]


def validation(cohorts: TextArray, people: IntArray, *, seed: int) -> Validation:
    """Rows to fit on, to calibrate on, and to stop and choose the calibration on.

    Calibration is fitted on a fifth of the people. Where an earlier start of the latest start's course is among the
    rows, stopping and choosing are left to the latest start: the next one will differ as it did. Else the same fifth
    must do: a first start of a course would measure the step to a track never seen. (Calibrating on the latest start
    alone was tried: it gives the other courses its base rates, and preference's log loss rose from 0.54 to 0.96.)
    """
    held_out = folds(people, n_folds=VALIDATION_FOLDS, seed=seed + 1) == 0
    later = later_start(cohorts, people)
    if later is None or judged_by(sorted(set(cohorts.tolist()))) != "later_start":
        return Validation(~held_out, held_out, held_out)
    if not (later.train & held_out).any() or not (later.train & ~held_out).any():
        return Validation(~held_out, held_out, held_out)
    return Validation(later.train & ~held_out, later.train & held_out, later.test)

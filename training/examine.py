"""A recipe put to the examinations of split.py: fit on what each may learn from, answer for the rest, take figures."""

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np

from training.dataset import TrainingSet
from training.evaluate import ONE_COLUMN, class_shares, column_scores, evaluate
from training.figures import DayFigures
from training.models import Fitter, FloatArray, Rows, probabilities
from training.split import Examination, IntArray, Split, held_out_students, later_start


def examine(data: TrainingSet, fitter: Fitter, *, threads: int) -> dict[Examination, DayFigures]:
    """Figures per examination and day. `later_start` is missing when all chosen presentations start on one day.

    threads
        Fits running side by side.
    """
    presentation, student = data.users["presentation"].to_numpy(str), data.rows.student
    later = later_start(presentation, student)
    result: dict[Examination, DayFigures] = {}
    with ThreadPoolExecutor(threads) as pool:
        if later is not None:
            result["later_start"] = _figures(data, fitter, [later], pool)
        folds = held_out_students(student, seed=fitter.seed)
        result["held_out_students"] = _figures(data, fitter, folds, pool)
    return result


def _figures(data: TrainingSet, fitter: Fitter, splits: Sequence[Split], pool: Executor) -> DayFigures:
    """Figures over all examined rows of the splits together."""
    day, presentation = data.users["day"].to_numpy(np.int64), data.users["presentation"].to_numpy(str)
    tested = np.concatenate([np.flatnonzero(split.test) for split in splits])
    answers = list(pool.map(lambda split: _answers(data, fitter, split, day), splits))
    p, p_one_column, p_majority = (np.concatenate(part) for part in zip(*answers, strict=True))
    return evaluate(
        data.rows.y[tested],
        p,
        p_one_column=p_one_column,
        p_majority=p_majority,
        day=day[tested],
        presentation=presentation[tested],
    )


def _answers(
    data: TrainingSet, fitter: Fitter, split: Split, day: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What model, one column and majority say to the examined rows, shape (n, n_classes) each."""
    train, x = data.rows.where(split.train), data.rows.x[split.test]
    return (
        probabilities(fitter.fit(train), x),
        _one_column(fitter, train, x, data.features.index(ONE_COLUMN)),
        _majority(train, day[split.train], day[split.test], fitter.n_classes),
    )


def _one_column(fitter: Fitter, train: Rows, x: FloatArray, column: int) -> FloatArray:
    """The one column as it stands for two classes; for more, the same recipe allowed that column alone."""
    if fitter.n_classes == 2:
        return column_scores(train.x[:, column], train.y, x[:, column])
    narrow = Fitter(fitter.model, (ONE_COLUMN,), fitter.seed)
    alone = Rows(train.x[:, [column]], train.y, train.weight, train.student)
    return probabilities(narrow.fit(alone), x[:, [column]])


def _majority(train: Rows, train_day: IntArray, day: IntArray, n_classes: int) -> FloatArray:
    """The class shares of training on the same day, for each examined row."""
    shares = {
        int(d): class_shares(train.y[train_day == d], train.weight[train_day == d], n_classes) for d in np.unique(day)
    }
    return np.array([shares[int(d)] for d in day]).reshape(len(day), n_classes)

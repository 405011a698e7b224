"""A recipe put to the examinations of split.py: fit on what each may learn from, answer for the rest."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from training.arrays import FloatArray, IntArray, TextArray
from training.baselines import Baselines, baselines_of
from training.dataset import TrainingSet
from training.evaluate import ONE_COLUMN, column_scores
from training.masking import columns_of, without
from training.models import Fitted, Fitter
from training.reweigh import reweighed
from training.split import Examination, Split, examinations, has_taught


@dataclass(frozen=True)
class Answers:
    """What was said to the examined rows by models that had not seen their people.

    rows
        Shape (n,): index into the set, rising.
    p, p_one_column, p_majority
        Shape (n, n_classes): the model; total clicks alone; the class shares of training on that day.
    without
        The model's answers when a view's features are hidden, by view.
    """

    rows: IntArray
    p: FloatArray
    p_one_column: FloatArray
    p_majority: FloatArray
    without: Mapping[str, FloatArray]


def examine(
    data: TrainingSet, fitter: Fitter, *, threads: int, groups: TextArray | None = None
) -> dict[Examination, Answers]:
    """Answers per examination. `later_start` is missing when all chosen cohorts start on one day.

    threads
        Fits running side by side.
    groups
        Shape (n_rows,): groups whose labels those who teach are reweighed by; None: they weigh what they do.
    """

    def teaches(split: Split) -> bool:
        return len(np.unique(data.rows.y[split.train])) == fitter.n_classes

    splits = examinations(data.rows.cohort, data.rows.person, seed=fitter.seed, teaches=teaches)
    splits = {
        name: of_name if name == "held_out_people" else [known_by_then(data, split, teaches) for split in of_name]
        for name, of_name in splits.items()
    }
    each = {id(split): split for of_name in splits.values() for split in of_name}
    with ThreadPoolExecutor(threads) as pool:
        parts = dict(
            zip(each, pool.map(lambda split: _answers(data, fitter, split, groups), each.values()), strict=True)
        )
    return {name: _joined(data, [parts[id(split)] for split in of_name]) for name, of_name in splits.items()}


def known_by_then(data: TrainingSet, split: Split, teaches: Callable[[Split], bool]) -> Split:
    """The split without rows whose label was not known when the first of who is examined began; itself where that would
    leave too little: too few people, or nobody at a day that is judged.

    Starts of a product follow each other within the horizon of a label; two of the demo's lie a year apart.
    """
    day = data.users["day"].to_numpy(np.int64)
    judged = {*day[split.test].tolist()} & {*data.task.evaluated_days}
    known = Split(split.train & (data.known_us() < data.began_us()[split.test].min()), split.test)
    is_enough = judged <= {*day[known.train].tolist()} and has_taught(known, data.rows.person) and teaches(known)
    return known if is_enough else split


def _joined(data: TrainingSet, parts: Sequence[Answers]) -> Answers:
    """Answers to all examined rows of the splits together, in the order of the set."""
    tested = np.concatenate([part.rows for part in parts])
    order = np.argsort(tested)

    def joined(name: str) -> FloatArray:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    hidden = {view: np.concatenate([part.without[view] for part in parts])[order] for view in columns_of(data.features)}
    return Answers(tested[order], joined("p"), joined("p_one_column"), joined("p_majority"), hidden)


def _answers(data: TrainingSet, fitter: Fitter, split: Split, groups: TextArray | None) -> Answers:
    day = data.users["day"].to_numpy(np.int64)
    x = data.rows.x[split.test]
    train = data.rows.where(split.train)
    if groups is not None:
        train = reweighed(train, groups[split.train])
    fitted = fitter.fit(train)  # not refitted on its validation rows: that takes twice as long
    known = baselines_of(data, split.train)
    return Answers(
        np.flatnonzero(split.test),
        fitted.probabilities(x),
        _one_column(data, fitter, split, known),
        known.majority(day[split.test]),
        {view: fitted.probabilities(without(x, data.features, view)) for view in columns_of(data.features)},
    )


def _one_column(data: TrainingSet, fitter: Fitter, split: Split, known: Baselines) -> FloatArray:
    """The one column as it stands for two classes; for more, the same recipe allowed that column alone."""
    column = data.features.index(ONE_COLUMN)
    x = data.rows.x[split.test][:, [column]]
    if fitter.n_classes == 2:
        return column_scores(x[:, 0], known.one_column_signs)
    return _narrow(data, fitter, split).probabilities(x)


def _narrow(data: TrainingSet, fitter: Fitter, split: Split) -> Fitted:
    train = data.rows.where(split.train)
    column = data.features.index(ONE_COLUMN)
    return Fitter(fitter.model, (ONE_COLUMN,), fitter.seed).fit(train.only([column]))

"""`firstmile train --search N`: Optuna looks for XGBoost parameters that do better than the recipe's.

set ─► rows that may be learned from ─► N fits, each judged by log loss ─► parameters of the one that did best

Where the gates examine a later start, its rows take no part here. Where they examine held-out people, there is no
other start to keep back: what is found was chosen on the people it is examined on, and flatters itself a little.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from firstmile.cli import console
from firstmile.errors import DataError
from training.arrays import BoolArray
from training.dataset import TrainingSet
from training.models import Fitter, Rows
from training.split import Split, held_out_people, judged_by, later_start

if TYPE_CHECKING:  # a fifth of a second, which training without a search need not pay
    import optuna

N_FOLDS: Final = 3
"""Of the five there are: more folds say it more surely, fewer leave time for more trials."""
LEAST_P: Final = 1e-6
SEARCHED: Final = "found by a search"


@dataclass(frozen=True)
class Span:
    """Where a parameter may lie; `by_ratio`: its logarithm is drawn evenly."""

    low: float
    high: float
    by_ratio: bool = True


SPACE: Final[Mapping[str, Span]] = {
    "learning_rate": Span(0.02, 0.3),
    "min_child_weight": Span(0.1, 30.0),
    "subsample": Span(0.5, 1.0, by_ratio=False),
    "colsample_bytree": Span(0.05, 1.0),
    "reg_lambda": Span(0.1, 50.0),
}
DEPTHS: Final = (1, 6)
SPACE_NAMES: Final = (*SPACE, "max_depth")


@dataclass(frozen=True)
class Found:
    """What a search came to.

    fitter
        The recipe with what was found; the recipe itself where nothing did better.
    trials
        Parameters and `log_loss` of each trial, the recipe's first.
    """

    fitter: Fitter
    trials: list[dict[str, float]]

    def document(self) -> dict[str, Any]:
        """For MLflow and for the verb's answer."""
        losses = [trial["log_loss"] for trial in self.trials]
        return {
            "n_trials": len(losses),
            "log_loss_recipe": losses[0],
            "log_loss_found": min(losses),
            "parameters": dict(self.fitter.changes),
        }

    def params(self) -> dict[str, Any]:
        """For a run's parameters."""
        said = self.document()
        return {f"search.{name}": said[name] for name in ("n_trials", "log_loss_recipe", "log_loss_found")}


def was_searched(params: Mapping[str, str]) -> bool:
    """Whether a run's XGBoost parameters were found by a search, its own or an earlier one's."""
    return params.get("parameters") == SEARCHED


def search(data: TrainingSet, fitter: Fitter, *, n_trials: int, threads: int) -> Found:
    """Try the recipe and n_trials - 1 others; seeded, so that the same set gives the same.

    threads
        Fits running side by side.

    Raises DataError when nobody is left to judge by.
    """
    import optuna

    splits = splits_of(data.rows, seed=fitter.seed)
    if not splits:
        raise DataError(f"{data.model}: too few users to search with, train without --search")
    recipe = {name: fitter.parameters()[name] for name in SPACE_NAMES}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=fitter.seed))
    study.enqueue_trial(recipe)
    with ThreadPoolExecutor(threads) as pool, _progress(data.model, n_trials) as shown:

        def loss_of(trial: "optuna.Trial") -> float:
            tried = replace(fitter, changes=tuple(_drawn(trial).items()))
            return float(np.mean(list(pool.map(lambda split: loss(tried, data.rows, split), splits))))

        study.optimize(loss_of, n_trials, callbacks=[lambda study, _: shown(study.best_value)])
    trials = [{**trial.params, "log_loss": float(trial.values[0])} for trial in study.trials]
    changes = tuple((n, v) for n, v in study.best_params.items() if v != recipe[n])
    found = Found(replace(fitter, changes=changes), trials)
    said = ", ".join(f"{name} {value:.3g}" for name, value in changes) or "the recipe stays"
    losses = f"log loss {trials[0]['log_loss']:.4f} -> {study.best_value:.4f}"
    console.print(f"train: {data.model}: search of {n_trials}, {losses}: {said}", highlight=False, soft_wrap=True)
    return found


def splits_of(rows: Rows, *, seed: int) -> list[Split]:
    """Who teaches and who is asked in every trial, over all rows; the gates' later start is in neither.

    Of the rows left the latest start is asked, if an earlier one of its course is among them, else folds of people.
    """
    everybody = np.ones(len(rows.y), bool)
    examined = _later(rows, everybody)
    left = everybody if examined is None else examined.train
    later = _later(rows, left)
    if examined is not None and later is not None:
        return [later]
    folds = held_out_people(rows.person[left], seed=seed + 4)[:N_FOLDS]
    return [Split(_among(left, fold.train), _among(left, fold.test)) for fold in folds]


def _later(rows: Rows, among: BoolArray) -> Split | None:
    """The examination of a later start over some of the rows, where the gates would judge by it."""
    if judged_by(sorted(set(rows.cohort[among].tolist()))) != "later_start":
        return None
    later = later_start(rows.cohort[among], rows.person[among])
    return None if later is None else Split(_among(among, later.train), _among(among, later.test))


def _among(rows: BoolArray, chosen: BoolArray) -> BoolArray:
    """`chosen` says which of the rows that are True in `rows`; the answer says it of all."""
    found = np.zeros(len(rows), bool)
    found[np.flatnonzero(rows)[chosen]] = True
    return found


def loss(fitter: Fitter, rows: Rows, split: Split) -> float:
    """Log loss of the rows asked, every user weighing 1."""
    asked = rows.where(split.test)
    p = fitter.fit(rows.where(split.train)).probabilities(asked.x)
    own = np.maximum(p[np.arange(len(asked.y)), asked.y], LEAST_P)
    return float(np.average(-np.log(own), weights=asked.weight))


def _drawn(trial: "optuna.Trial") -> dict[str, Any]:
    numbers = {name: trial.suggest_float(name, s.low, s.high, log=s.by_ratio) for name, s in SPACE.items()}
    return {**numbers, "max_depth": trial.suggest_int("max_depth", *DEPTHS)}


@contextmanager
def _progress(model: str, n_trials: int) -> Iterator[Callable[[float], None]]:
    """A bar with the best log loss so far; to be told it after every trial."""
    words, best = TextColumn(f"train: {model}: search"), TextColumn("best log loss {task.fields[best]}")
    columns = (words, BarColumn(), MofNCompleteColumn(), best, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=n_trials, best="")
        yield lambda loss: bar.update(task, advance=1, best=f"{loss:.4f}")

"""`firstmile evaluate oulad --data DIR`: the champions, put to any folder of the dataset's form.

tables ─► labels ───────────────────────────┐
      └─► backfill in a scratch home ─► point-in-time vectors ─► champions' answers ─► figures, groups
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from mlflow.tracking import MlflowClient

from examples.oulad.evaluation.ranker import evaluate_ranker, has_champion
from examples.oulad.evaluation.scratch import scratch_store
from examples.oulad.learning.labels import MARKING_DELAY_DAYS, label
from examples.oulad.learning.material import audit_of
from examples.oulad.tables import tables as oulad
from examples.oulad.tables.columns import find_file
from examples.oulad.tables.tables import OuladTables
from firstmile.cli import emit
from firstmile.errors import DataError
from firstmile.names import CHAMPION, RANKER
from firstmile.settings import Settings, load_settings
from firstmile.vocabulary import MODELS
from training.arrays import FloatArray
from training.bootstrap import intervals
from training.dataset import TrainingSet, training_set, vectors
from training.evaluate import ONE_COLUMN, column_scores, evaluate, quality
from training.figures import DayFigures
from training.labelled import Labelled
from training.slices import Slices, slices
from training.steps import step
from training.tasks import TASKS
from training.tracking import aliases, connect
from training.versions import Version, read_baselines_of, read_fitted, read_people, read_version

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Put the champions to data they have not seen.")


@app.callback()
def _evaluate() -> None:
    """Put the champions to data they have not seen."""


@app.command("oulad")
def run(
    data: Annotated[Path, typer.Option(help="folder of the OULAD tables")],
    presentations: Annotated[str, typer.Option(help="for example CCC_2014B; default: all in the folder")] = "",
    only_unseen: Annotated[bool, typer.Option(help="leave out students whom the champion learned from")] = False,
) -> None:
    """Score every champion on a folder of the dataset's form; prints figures by model and day, and gaps by group.

    Students whom a champion learned from are scored too, and counted as n_students_of_training, so that a folder of
    them is not an empty answer. auc_one_column is by total clicks so far; of several classes each against the rest, by
    more or by fewer clicks as it was in training.
    """
    logging.getLogger("feast").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    chosen = [p.strip() for p in presentations.split(",") if p.strip()] or None
    emit(evaluate_oulad(load_settings(), data, chosen, only_unseen=only_unseen))


Evaluated = tuple[dict[str, Any], dict[str, Slices]]
"""Figures by day, or `error`, and groups by day."""


@dataclass(frozen=True)
class Asked:
    """What all models are asked with: audit attributes by user_id, the seed of intervals, whom to leave out."""

    audit: pd.DataFrame
    seed: int
    only_unseen: bool


def evaluate_oulad(
    settings: Settings, data: Path, presentations: Sequence[str] | None, *, only_unseen: bool = False
) -> dict[str, Any]:
    """Figures of every champion at the days its task is evaluated; a model without a champion says how to get one.

    only_unseen
        Whether students whom a champion learned from are left out of its figures, not only counted.

    Raises DataError when a file or column is missing or malformed, or nobody is enrolled; DependencyError when MLflow
    does not answer.
    """
    started = time.monotonic()
    with step("evaluate: tables"):
        tables = oulad.read(data, presentations)
    _refuse_empty(data, tables)
    client = connect(settings)
    last_day = max(day for m in MODELS for day in TASKS[m].evaluated_days)
    models: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    is_ranked = has_champion(client)
    with scratch_store(settings, data, tables.presentations, to_day=last_day, with_content=is_ranked) as store:
        with step("evaluate: vectors, point in time"):
            sets, left = labelled_sets(store, tables, marking_delay_days=MARKING_DELAY_DAYS)
        asked = Asked(audit_of(tables), settings.training.seed, only_unseen)
        for model in MODELS:
            with step(f"evaluate: {model}"):
                models[model], groups[model] = _or_error(_one, client, model, sets.get(model), asked)
        with step(f"evaluate: {RANKER}"):
            models[RANKER] = {"error": _remedy(RANKER)}
            if is_ranked:
                models[RANKER] = _or_error(_ranker, client, tables, store, data, asked)[0]
    return {
        "presentations": tables.presentations,
        "models": models,
        "groups": {model: found for model, found in groups.items() if found},
        "left_out": left,
        "seconds": round(time.monotonic() - started, 2),
    }


def labelled_sets(
    store: Any, tables: OuladTables, *, marking_delay_days: int
) -> tuple[dict[str, TrainingSet], dict[str, Any]]:
    """Each model's labelled vectors at its evaluated days, where the tables carry its label; and who is left out."""
    labelled: dict[str, Labelled] = {}
    left: dict[str, dict[str, Any]] = {}
    sets: dict[str, TrainingSet] = {}
    for model in MODELS:
        try:
            made = label(model, tables, days=TASKS[model].evaluated_days, marking_delay_days=marking_delay_days)
        except DataError as error:
            left[model] = {"error": str(error)}
            continue
        left[model] = {str(day): dict(counts) for day, counts in made.counts.items()}
        if len(made.rows):
            labelled[model] = made
    for model, frame in vectors(store, labelled).items() if labelled else ():
        try:
            sets[model] = training_set(model, labelled[model], frame, TASKS[model])
        except DataError as error:
            left[model]["error"] = str(error)
    return sets, left


def _one(client: MlflowClient, model: str, data: TrainingSet | None, asked: Asked) -> Evaluated:
    """Figures and groups by day of one model; an entry that says why where there are none."""
    try:
        version = aliases(client, model).get(CHAMPION)
    except DataError:
        version = None
    if version is None:
        return {"error": _remedy(model)}, {}
    if data is None:
        return {"error": f"nobody here has the label of {model} and a row in the history: see left_out"}, {}
    champion = read_version(client, model, version)
    fitted = read_fitted(champion)
    if tuple(fitted.booster.feature_names or ()) != data.features:
        return {"error": f"{model} {version} reads other features than this code gives: firstmile train"}, {}
    is_seen = data.users["person"].isin(list(read_people(client, champion))).to_numpy(bool)
    if asked.only_unseen and is_seen.all():
        return {"error": f"{model} {version} has learned from everybody here, and --only-unseen leaves them out"}, {}
    seen_on = {int(day): float(is_seen[data.users["day"] == day].sum()) for day in set(data.users["day"])}
    if asked.only_unseen:
        data = data.where(~is_seen)
    p = fitted.probabilities(data.rows.x)
    figures = _figures(client, champion, data, p, asked.seed)
    for day, found in figures.items():
        found["n_students_of_training"] = seen_on[day]
    shown = {str(day): {name: _plain(name, f) for name, f in found.items()} for day, found in figures.items()}
    return shown, _groups(data, p, asked)


def _ranker(client: MlflowClient, tables: OuladTables, store: Any, data: Path, asked: Asked) -> Evaluated:
    return evaluate_ranker(client, tables, store, data, seed=asked.seed, only_unseen=asked.only_unseen), {}


def _or_error(evaluated: Callable[..., Evaluated], *asked: Any) -> Evaluated:
    """What came of one model; one that cannot be evaluated, its files lost for example, does not hold up the others."""
    try:
        return evaluated(*asked)
    except DataError as error:
        return {"error": str(error)}, {}


def _plain(name: str, value: float) -> float:
    """Numbers of people whole."""
    return int(value) if name.startswith("n") else value


def _remedy(model: str) -> str:
    return f"{model} has no champion; firstmile train --model {model} && firstmile promote {model}"


def _figures(client: MlflowClient, champion: Version, data: TrainingSet, p: FloatArray, seed: int) -> DayFigures:
    known = read_baselines_of(client, champion)
    day, cohort = data.users["day"].to_numpy(np.int64), data.rows.cohort
    users = data.users["user_id"].to_numpy(str)
    column = data.rows.x[:, data.features.index(ONE_COLUMN)]
    scores = column_scores(column, known.one_column_signs) if known.one_column_signs else np.full(p.shape, np.nan)
    figures = evaluate(
        data.rows.y,
        p,
        p_one_column=scores,
        p_majority=known.majority(day),
        day=day,
        cohort=cohort,
    )
    sure = intervals(data.rows.y, p, day=day, cohort=cohort, users=users, seed=seed)
    for at, found in figures.items():
        found |= sure[at]
        if not known.one_column_signs:
            del found["auc_one_column"]
        later = data.users["judged_label"].to_numpy(np.int64)
        rows = (day == at) & (later >= 0)
        if TASKS[data.model].judged_form and rows.any():
            again = quality(later[rows], p[rows], cohort[rows])
            named = ("n", "auc", "log_loss", "accuracy")
            found |= {f"{name}_{TASKS[data.model].judged_form}": again[name] for name in named}
    return figures


def _groups(data: TrainingSet, p: FloatArray, asked: Asked) -> dict[str, Slices]:
    result = {}
    for at in sorted(set(data.users["day"].tolist())):
        rows = data.users["day"].to_numpy(np.int64) == at
        result[str(at)] = slices(
            data.model,
            data.rows.y[rows],
            p[rows],
            users=data.users[rows],
            audit=asked.audit,
            seed=asked.seed,
        )
    return result


def _refuse_empty(data: Path, tables: OuladTables) -> None:
    if not tables.presentations:
        raise DataError(f"{find_file(data, 'courses')}: no presentation stands in it; complete the file")
    enrolled = set(tables.registrations["presentation"].to_pylist())
    empty = sorted(set(tables.presentations) - enrolled)
    if empty:
        raise DataError(
            f"{find_file(data, 'studentRegistration')}, columns code_module and code_presentation: nobody is "
            f"enrolled in {', '.join(empty)}; leave it out (--presentations) or complete the file"
        )

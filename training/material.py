"""What a training run learns from, made from either source: OULAD's tables, or the events of a product's own users.

tables or lake ─► labels ─► point-in-time vectors ─► sets, each step behind the data quality gate
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feast.errors import FeatureServiceNotFoundException

from feature_repo.services import service_name
from feature_repo.store import apply, feature_store
from firstmile import oulad
from firstmile.cli import console
from firstmile.errors import UsageError
from firstmile.names import MODELS, RANKER
from firstmile.settings import Settings
from training.cohorts import judged_days
from training.dataset import TrainingSet, training_set, vectors
from training.history import choose, history_ends_us, product_history_ends_us, refuse_future, whole
from training.labels import Labelled, label
from training.labels_events import check_names, event_labels
from training.labels_file import read_labels, task_of
from training.lake_events import names_in, product_events, reached_us
from training.quality import QualityGate
from training.quality_lake import lake_files
from training.ranking_set import SNAPSHOT_DAYS, RankingSet, ranking_set
from training.slices import audit_of, audit_of_history
from training.steps import step
from training.tasks import TASKS, Task


@dataclass(frozen=True)
class Material:
    """Sets by model, and who their users are.

    starts
        Presentations, or cohorts of a product.
    audit
        Audit attributes by user_id.
    groups
        What the ranker learns from, if it is asked for.
    """

    starts: list[str]
    sets: dict[str, TrainingSet]
    audit: pd.DataFrame
    groups: RankingSet | None = None


def oulad_material(
    settings: Settings, models: Sequence[str], quality: QualityGate, *, presentations: Sequence[str] | None, data: Path
) -> Material:
    """Of chosen presentations.

    Raises DataError when the history or the tables cannot carry it, GateError when the data does not hold.
    """
    tasks = [m for m in models if m in TASKS]
    last_day = max(day for m in models for day in (TASKS[m].snapshot_days if m in TASKS else SNAPSHOT_DAYS))
    ends_us = history_ends_us(settings)
    chosen = choose(ends_us, presentations, last_day=last_day)
    with step("train: expectations of history and lake"):
        quality.check_sources(chosen, last_day=last_day)
    with step(f"train: labels of {', '.join(chosen)}"):
        tables = oulad.read(data, chosen)
        delay_days = settings.training.marking_delay_days
        labelled = {m: label(m, tables, marking_delay_days=delay_days) for m in tasks}
        refuse_future(labelled, ends_us, complete=whole(settings))
    with step("train: vectors, point in time"):
        store = _store(settings, tasks or MODELS)
        sets = _sets(store, labelled, {m: TASKS[m] for m in tasks})
    groups = None
    if RANKER in models:
        with step(f"train: groups of the {RANKER}"):
            groups = ranking_set(store, tables, data)
    return Material(chosen, sets, audit_of(tables), groups)


def product_material(settings: Settings, models: Sequence[str], quality: QualityGate) -> Material:
    """Of all users of the event lake but OULAD's learners, by the product's labels.yaml.

    What is known ends where the lake or the history ends, whichever is earlier: a later snapshot would show an idle
    user where nobody has looked.

    Raises UsageError for a model the file does not define, DataError for a file, lake or history that cannot carry it,
    GateError when the data does not hold.
    """
    document, file = read_labels(settings.product_file("labels"))
    specs = file.specs()
    for model in models:
        if model not in specs:
            raise UsageError(
                f"{document.path} has no label of {model}, it defines {', '.join(specs)}; add it or train those"
            )
    tasks = {m: task_of(m, specs[m]) for m in models}
    lake = lake_files(settings.lake)
    events = product_events(lake)
    check_names(document, file, names_in(events))
    ends_us = min(reached_us(lake), product_history_ends_us(settings))
    with step("train: expectations of history and lake"):
        quality.check_sources([], last_day=max(max(t.snapshot_days) for t in tasks.values()))
    with step(f"train: labels by {document.path.name}"):
        labelled = {m: each for m, each in event_labels(file, events, ends_us=ends_us).items() if m in tasks}
        tasks = {m: _judged(m, task, labelled[m]) for m, task in tasks.items()}
    with step("train: vectors, point in time"):
        sets = _sets(_store(settings, list(tasks)), labelled, tasks)
    starts = sorted({start for data in sets.values() for start in data.users["presentation"]})
    return Material(starts, sets, audit_of_history(settings))


def _sets(store: Any, labelled: Mapping[str, Labelled], tasks: Mapping[str, Task]) -> dict[str, TrainingSet]:
    found = vectors(store, labelled)
    return {m: training_set(m, each, found[m], tasks[m]) for m, each in labelled.items()}


def _judged(model: str, task: Task, labelled: Labelled) -> Task:
    """The task, judged on the days that enough users are old enough for."""
    days = judged_days(labelled.rows["day"].to_numpy(np.int64), task.evaluated_days)
    if days == tuple(task.evaluated_days):
        return task
    young = ", ".join(str(day) for day in task.evaluated_days if day not in days)
    console.print(
        f"train: {model}: judged on days {', '.join(map(str, days))}; too few users have a label at day {young} yet",
        highlight=False,
        soft_wrap=True,
    )
    return replace(task, evaluated_days=days)


def _store(settings: Settings, models: Sequence[str]) -> Any:
    """The feature store, its definitions registered if these models' are not."""
    store = feature_store(settings)
    try:
        for model in models:
            store.get_feature_service(service_name(model))
    except FeatureServiceNotFoundException:
        return apply(settings)
    return store

"""Makes what a training run learns from: of the events of a product's users, or by the source that labels.yaml names.

lake ─► labels ─► point-in-time vectors ─► sets, each step behind the data quality gate
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd
from feast.errors import FeatureServiceNotFoundException

from feature_repo.services import service_name
from feature_repo.store import apply, feature_store
from firstmile.cli import console
from firstmile.documents import Document
from firstmile.errors import UsageError
from firstmile.hooks import call_hook
from firstmile.names import RANKER
from firstmile.settings import Settings
from firstmile.vocabulary import SOURCE
from training.cohorts import judged_days
from training.dataset import TrainingSet, training_set, vectors
from training.history import whole_history_ends_us
from training.labelled import Labelled
from training.labels_events import check_names, event_labels
from training.labels_file import NOTHING_SAID, About, LabelFile, read_labels, task_of
from training.lake_events import names_in, product_events, reached_us
from training.quality import QualityGate
from training.quality_lake import lake_files
from training.ranking_set import RankingSet
from training.slices import audit_of_history
from training.steps import step
from training.task import Task


@dataclass(frozen=True)
class Material:
    """Sets by model, and who their users are.

    starts
        Cohorts.
    audit
        Audit attributes by user_id.
    groups
        What the ranker learns from, if it is asked for.
    """

    starts: list[str]
    sets: dict[str, TrainingSet]
    audit: pd.DataFrame
    groups: RankingSet | None = None
    about: About = NOTHING_SAID


class Source(Protocol):
    """What `source` of labels.yaml names: it makes labels where the file's language is too small."""

    def material(
        self, settings: Settings, models: Sequence[str], quality: QualityGate, *, cohorts: Sequence[str] | None
    ) -> Material:
        """Of chosen cohorts, None: of all; each model's task is that of `tasks.TASKS`.

        Raises DataError when history or labels cannot carry it, GateError when the data does not hold.
        """


def material(
    settings: Settings, models: Sequence[str], quality: QualityGate, *, cohorts: Sequence[str] | None = None
) -> Material:
    """By labels.yaml: of all users of the event lake, or what its source makes.

    What is known ends where the lake or the history ends, whichever is earlier: a later snapshot would show an idle
    user where nobody has looked.

    Raises UsageError for a model the file does not define, or cohorts where users begin on any day; DataError for a
    file, lake or history that cannot carry it; GateError when the data does not hold.
    """
    document, file = read_labels(settings.product_file("labels"))
    source = source_of(document, file)
    for model in models:
        if model not in file.specs and (source is None or model != RANKER):
            raise UsageError(
                f"{document.path} has no label of {model}, it defines {', '.join(file.specs)}; add it or train those"
            )
    if source is not None:
        return replace(source.material(settings, models, quality, cohorts=cohorts), about=file.about)
    if cohorts:
        raise UsageError("--cohorts is for recorded cohorts, which a source of labels.yaml has; leave it out")
    tasks = {m: task_of(file.specs[m]) for m in models}
    lake = lake_files(settings.lake)
    events = product_events(lake)
    check_names(document, file, names_in(events))
    ends_us = min(reached_us(lake), whole_history_ends_us(settings))
    with step("train: expectations of history and lake"):
        quality.check_sources([], last_day=max(max(t.snapshot_days) for t in tasks.values()))
    with step(f"train: labels by {document.path.name}"):
        labelled = {m: each for m, each in event_labels(file, events, ends_us=ends_us).items() if m in tasks}
        tasks = {m: _judged(m, task, labelled[m]) for m, task in tasks.items()}
    with step("train: vectors, point in time"):
        sets = labelled_sets(store_of(settings, list(tasks)), labelled, tasks)
    starts = sorted({start for data in sets.values() for start in data.users["cohort"]})
    return Material(starts, sets, audit_of_history(settings), about=file.about)


def source_of(document: Document, file: LabelFile) -> Source | None:
    """The source that labels.yaml names, None without. Raises FileError when it cannot be had."""
    return None if file.source is None else cast(Source, call_hook(document, (SOURCE, "labels"), file.source))


def labelled_sets(store: Any, labelled: Mapping[str, Labelled], tasks: Mapping[str, Task]) -> dict[str, TrainingSet]:
    """Each model's set: its labelled users with what was known of them."""
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


def store_of(settings: Settings, models: Sequence[str]) -> Any:
    """The feature store, its definitions registered if these models' are not."""
    store = feature_store(settings)
    try:
        for model in models:
            store.get_feature_service(service_name(model))
    except FeatureServiceNotFoundException:
        return apply(settings)
    return store

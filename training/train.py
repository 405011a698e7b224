"""`firstmile train`: offline history to registered challengers.

history ─► labels ─► point-in-time vectors ─► sets ─► examinations ─► refit on all ─► MLflow run, version, `challenger`
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from feast.errors import FeatureServiceNotFoundException

from feature_repo.services import service_name
from feature_repo.store import apply, feature_store
from firstmile import oulad
from firstmile.cli import console, emit
from firstmile.errors import UsageError
from firstmile.names import MODELS, RANKER, TRAINED
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings, load_settings
from training.again import made_of
from training.dataset import training_set, vectors
from training.history import choose, has_content_statistics, history_ends_us, refuse_future, whole
from training.labels import label
from training.plan import PLAIN, Plan
from training.promote import promote_all
from training.quality import QualityGate
from training.ranker_train import train_ranker
from training.ranking_set import SNAPSHOT_DAYS, ranking_set
from training.slices import audit_of
from training.steps import step
from training.tasks import TASKS
from training.tracking import chosen_models, connect, experiment_id
from training.train_task import train_task


def run(
    model: Annotated[str | None, typer.Option(help=f"{', '.join(TRAINED)}, several by comma; default: all")] = None,
    presentations: Annotated[str, typer.Option(help="for example BBB_2013B,AAA_2013J; default: all in history")] = "",
    data: Annotated[Path, typer.Option(help="folder of the OULAD tables, for the labels")] = ROOT / "data" / "oulad",
    then_promote: Annotated[bool, typer.Option("--promote", help="then promote them, as `firstmile promote`")] = False,
    from_run: Annotated[str | None, typer.Option(help="once more: the model, presentations and seed of a run")] = None,
) -> None:
    """Train on the offline history and register each model as `challenger`."""
    if from_run is not None and (model or presentations):
        raise UsageError("--from-run names model and presentations itself; leave --model and --presentations out")
    models = chosen_models(model)
    wanted = [p for p in presentations.split(",") if p] or None
    logging.getLogger("feast").setLevel(logging.WARNING)  # says for each object that it refreshed the registry
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    settings = load_settings()
    models = models or trainable(settings)
    made = None if from_run is None else made_of(connect(settings), from_run)
    if made is not None:
        settings, models, wanted = made.settings(settings), (made.model,), made.presentations
    result = train(settings, models, presentations=wanted, data=data, plan=made.plan if made else PLAIN)
    if made is not None:
        result["from_run"] = made.compared(result["models"][made.model])
    if then_promote:
        result["promoted"] = promote_all(connect(settings), models, shows=False)
    emit(result)


def trainable(settings: Settings) -> tuple[str, ...]:
    """All models, but for the ranker where the history has nothing for it to learn from."""
    if has_content_statistics(settings):
        return TRAINED
    console.print(
        f"train: no content statistics in the history, so no {RANKER} (backfill without --no-content)", soft_wrap=True
    )
    return MODELS


def train(
    settings: Settings, models: Sequence[str], *, presentations: Sequence[str] | None, data: Path, plan: Plan = PLAIN
) -> dict[str, Any]:
    """Train and register the models; returns what came of it, one entry per model.

    Raises DataError when the history or the tables cannot carry it, GateError when the data is not what quality.yaml
    expects, DependencyError when MLflow does not answer.
    """
    started = time.monotonic()
    client = connect(settings)
    tasks = [m for m in models if m in TASKS]
    last_day = max(day for m in models for day in (TASKS[m].snapshot_days if m in TASKS else SNAPSHOT_DAYS))
    ends_us = history_ends_us(settings)
    chosen = choose(ends_us, presentations, last_day=last_day)
    quality = QualityGate(settings)
    with step("train: expectations of history and lake"):
        quality.check_sources(chosen, last_day=last_day)
    with step(f"train: labels of {', '.join(chosen)}"):
        tables = oulad.read(data, chosen)
        delay_days = settings.training.marking_delay_days
        labelled = {m: label(m, tables, marking_delay_days=delay_days) for m in tasks}
        refuse_future(labelled, ends_us, complete=whole(settings))
    with step("train: vectors, point in time"):
        store = _store(settings, tasks or MODELS)
        found = vectors(store, labelled)
        sets = {m: training_set(m, labelled[m], found[m]) for m in tasks}
    with step("train: expectations of the sets"):
        quality.check_sets(sets)
    experiment = experiment_id(client, settings)
    audit = audit_of(tables)
    results = {
        m: train_task(client, experiment, sets[m], audit=audit, settings=settings.training, plan=plan) for m in tasks
    }
    if RANKER in models:
        with step("train: groups of the content ranker"):
            groups = ranking_set(store, tables, data)
        results[RANKER] = train_ranker(client, experiment, groups, settings=settings.training, plan=plan)
    seconds = round(time.monotonic() - started, 2)
    return {"presentations": chosen, "quality": quality.report(), "models": results, "seconds": seconds}


def _store(settings: Settings, models: Sequence[str]) -> Any:
    """The feature store, its definitions registered if these models' are not."""
    store = feature_store(settings)
    try:
        for model in models:
            store.get_feature_service(service_name(model))
    except FeatureServiceNotFoundException:
        return apply(settings)
    return store

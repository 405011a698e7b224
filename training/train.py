"""`firstmile train`: offline history to registered challengers.

history ─► labels ─► point-in-time vectors ─► sets ─► examinations ─► refit on all ─► MLflow run, version, `challenger`
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from feast.errors import FeatureServiceNotFoundException
from mlflow.tracking import MlflowClient

from feature_repo.services import service_name
from feature_repo.store import apply, feature_store
from firstmile import oulad
from firstmile.cli import console, emit
from firstmile.errors import UsageError
from firstmile.names import MODELS, RANKER, TRAINED
from firstmile.settings import ROOT, Settings, load_settings
from training.again import made_of
from training.card import model_card
from training.cost import cost_of
from training.dataset import TrainingSet, training_set, vectors
from training.examine import examine
from training.findings import find, judge_of
from training.gates import all_passed
from training.history import choose, has_content_statistics, history_ends_us, refuse_future, whole
from training.judge import gate_table, judge_version
from training.labels import label
from training.models import Fitter
from training.promote import promote_all
from training.quality import QualityGate
from training.ranker_train import train_ranker
from training.ranking_set import SNAPSHOT_DAYS, ranking_set
from training.register import Candidate, register
from training.slices import audit_of
from training.split import judged_by
from training.steps import step
from training.tasks import TASKS
from training.tracking import check_models, connect, experiment_id


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
    models = () if model is None else tuple(dict.fromkeys(m for m in model.split(",") if m))
    check_models(models)
    wanted = [p for p in presentations.split(",") if p] or None
    logging.getLogger("feast").setLevel(logging.WARNING)  # says for each object that it refreshed the registry
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    settings = load_settings()
    models = models or _all(settings)
    made = None if from_run is None else made_of(connect(settings), from_run)
    if made is not None:
        settings, models, wanted = made.settings(settings), (made.model,), made.presentations
    result = train(settings, models, presentations=wanted, data=data)
    if made is not None:
        result["from_run"] = made.compared(result["models"][made.model])
    if then_promote:
        result["promoted"] = promote_all(connect(settings), models)
    emit(result)


def _all(settings: Settings) -> tuple[str, ...]:
    if has_content_statistics(settings):
        return TRAINED
    console.print(f"train: no content statistics in the history (backfill --no-content), so no {RANKER}")
    return MODELS


def train(
    settings: Settings, models: Sequence[str], *, presentations: Sequence[str] | None, data: Path
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
        store = _store(settings, tasks)
        found = vectors(store, labelled)
        sets = {m: training_set(m, labelled[m], found[m]) for m in tasks}
    with step("train: expectations of the sets"):
        quality.check_sets(sets)
    experiment = experiment_id(client, settings)
    audit = audit_of(tables)
    results = {m: _one(client, experiment, sets[m], audit, settings) for m in tasks}
    if RANKER in models:
        with step("train: groups of the content ranker"):
            groups = ranking_set(store, tables, data)
        with step(f"train: {RANKER}: examinations, fit, register"):
            results[RANKER] = train_ranker(client, experiment, groups, settings.training)
        console.print(gate_table(judge_version(client, RANKER, results[RANKER]["version"])))
    seconds = round(time.monotonic() - started, 2)
    return {"presentations": chosen, "quality": quality.report(), "models": results, "seconds": seconds}


def _one(
    client: MlflowClient, experiment: str, data: TrainingSet, audit: pd.DataFrame, settings: Settings
) -> dict[str, Any]:
    started = time.monotonic()
    fitter = Fitter(data.model, data.features, settings.training.seed)
    with step(f"train: {data.model}: examinations over {len(data.users)} rows"):
        answers = examine(data, fitter, threads=settings.training.threads)
        findings = find(data, answers, audit=audit, seed=fitter.seed)
    with step(f"train: {data.model}: fit on all"):
        fitted = fitter.refit(data.rows)
    examination = judged_by(sorted(set(data.users["presentation"])))
    judge = judge_of(data.model, examination)
    delay_days = settings.training.marking_delay_days
    card = model_card(data, fitted, findings, judged_by=judge, marking_delay_days=delay_days)
    cost = cost_of(fitted, data.rows.x)
    with step(f"train: {data.model}: register"):
        candidate = Candidate(data, fitter, fitted, findings, answers[examination], judge, cost, card)
        registered = register(client, experiment, candidate)
    with step(f"train: {data.model}: gates"):
        judged = judge_version(client, data.model, registered.version)
    console.print(gate_table(judged))
    days = TASKS[data.model].evaluated_days
    return {
        **asdict(registered),
        "alias": "challenger",
        "judged_by": judge,
        "would_promote": all_passed(judged.verdicts),
        "metrics": {
            name: {str(day): by_day[day] for day in days if day in by_day} for name, by_day in findings.figures.items()
        },
        "calibration": fitted.calibration.method,
        **cost,
        "set": data.description(),
        "counts_per_day": {str(day): counts for day, counts in data.counts.items()},
        "n_rounds": fitted.booster.num_boosted_rounds(),
        "seconds": round(time.monotonic() - started, 2),
    }


def _store(settings: Settings, models: Sequence[str]) -> Any:
    """The feature store, its definitions registered if these models' are not."""
    store = feature_store(settings)
    try:
        for model in models:
            store.get_feature_service(service_name(model))
    except FeatureServiceNotFoundException:
        return apply(settings)
    return store

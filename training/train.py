"""`firstmile train`: offline history to registered challengers.

labels, history ─► material (sets) ─► examinations ─► refit on all ─► MLflow run, version, `challenger`
"""

import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from firstmile.cli import console, emit
from firstmile.errors import UsageError
from firstmile.names import RANKER
from firstmile.settings import Settings, load_settings
from firstmile.vocabulary import TRAINED
from training.again import made_of
from training.alone import alone
from training.history import has_content_statistics
from training.labels_file import has_labels, read_labels
from training.material import material
from training.plan import PLAIN, Plan
from training.promote import Promotions, promote_all
from training.quality import QualityGate
from training.ranker_train import train_ranker
from training.steps import step
from training.tracking import chosen_models, connect, experiment_id
from training.train_task import train_task


def run(
    model: Annotated[str | None, typer.Option(help=f"{', '.join(TRAINED)}, several by comma; default: all")] = None,
    cohorts: Annotated[str, typer.Option(help="recorded cohorts by comma; default: all in history")] = "",
    then_promote: Annotated[bool, typer.Option("--promote", help="then promote them, as `firstmile promote`")] = False,
    from_run: Annotated[str | None, typer.Option(help="once more, as that run was: its model, starts and seed")] = None,
    n_trials: Annotated[
        int, typer.Option("--search", min=0, help="try so many XGBoost parameters (Optuna); 0: the recipe's")
    ] = 0,
) -> None:
    """Train on the offline history by the product's labels.yaml and register each model as `challenger`."""
    if from_run is not None and (model or cohorts or n_trials):
        raise UsageError("--from-run names all else itself; leave --model, --cohorts and --search out")
    models = chosen_models(model)
    wanted = [p for p in cohorts.split(",") if p] or None
    logging.getLogger("feast").setLevel(logging.WARNING)  # says for each object that it refreshed the registry
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    settings = load_settings()
    check_labels(settings, from_run)
    models = models or trainable(settings)
    made = None if from_run is None else made_of(connect(settings), from_run)
    if made is not None:
        settings, models, wanted = made.settings(settings), (made.model,), made.cohorts
    with alone(settings.home / "training", verb="train"):
        result = train(settings, models, cohorts=wanted, plan=made.plan if made else Plan(n_trials=n_trials))
        if made is not None:
            result["from_run"] = made.compared(result["models"][made.model])
        promotions = Promotions()
        if then_promote:
            promotions = promote_all(connect(settings), models, settings=settings, shows=False)
            result |= {"promoted": promotions.done, "refused": promotions.reasons()}
    emit(result)
    promotions.check()


def check_labels(settings: Settings, from_run: str | None = None) -> None:
    """Raise UsageError for a product without labels, or a run of users whose cohorts are cut anew in every run."""
    if not has_labels(settings):
        raise UsageError(
            f"{settings.product_file('labels')} is not there, so there is nothing to learn; "
            "`firstmile product init DIR` writes one to begin with"
        )
    if from_run and read_labels(settings.product_file("labels"))[1].source is None:
        raise UsageError("--from-run is for recorded cohorts: those of a growing product are cut anew in every run")


def trainable(settings: Settings) -> tuple[str, ...]:
    """The models of labels.yaml; and the ranker, where a source makes its labels and the history has what it reads."""
    _, file = read_labels(settings.product_file("labels"))
    if file.source is None:
        return tuple(file.specs)
    if has_content_statistics(settings):
        return (*file.specs, RANKER)
    console.print(
        f"train: no content statistics in the history, so no {RANKER} (backfill without --no-content)", soft_wrap=True
    )
    return tuple(file.specs)


def train(
    settings: Settings, models: Sequence[str], *, cohorts: Sequence[str] | None = None, plan: Plan = PLAIN
) -> dict[str, Any]:
    """Train and register the models; returns what came of it, one entry per model.

    Raises DataError when the history or the labels cannot carry it, GateError when the data is not what quality.yaml
    expects, DependencyError when MLflow does not answer.
    """
    started = time.monotonic()
    client = connect(settings)
    quality = QualityGate(settings)
    made = material(settings, models, quality, cohorts=cohorts)
    with step("train: expectations of the sets"):
        good = quality.plausible(made.sets, made.groups)
        quality.check_sets(good.sets, good.groups)
    experiment = experiment_id(client, settings)
    results = {
        m: train_task(
            client, experiment, each, audit=made.audit, settings=settings.training, plan=plan, about=made.about
        )
        for m, each in good.sets.items()
    }
    if good.groups is not None:
        if plan.n_trials:
            console.print(f"train: {RANKER}: keeps its recipe, the search is for the other models", highlight=False)
        results[RANKER] = train_ranker(
            client, experiment, good.groups, audit=made.audit, settings=settings.training, plan=plan, about=made.about
        )
    seconds = round(time.monotonic() - started, 2)
    return {"cohorts": made.starts, "quality": quality.report(), "models": results, "seconds": seconds}

"""`firstmile train`: offline history to registered challengers.

labels, history ─► material (sets) ─► examinations ─► refit on all ─► MLflow run, version, `challenger`
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from firstmile.cli import console, emit
from firstmile.errors import UsageError
from firstmile.names import MODELS, RANKER, TRAINED
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings, load_settings
from training.again import made_of
from training.alone import alone
from training.history import has_content_statistics
from training.labels_file import has_labels, read_labels
from training.material import oulad_material, product_material
from training.plan import PLAIN, Plan
from training.promote import Promotions, promote_all
from training.quality import QualityGate
from training.ranker_train import train_ranker
from training.steps import step
from training.tracking import chosen_models, connect, experiment_id
from training.train_task import train_task


def run(
    model: Annotated[str | None, typer.Option(help=f"{', '.join(TRAINED)}, several by comma; default: all")] = None,
    presentations: Annotated[str, typer.Option(help="for example BBB_2013B,AAA_2013J; default: all in history")] = "",
    data: Annotated[Path, typer.Option(help="folder of the OULAD tables, for the labels")] = ROOT / "data" / "oulad",
    then_promote: Annotated[bool, typer.Option("--promote", help="then promote them, as `firstmile promote`")] = False,
    from_run: Annotated[str | None, typer.Option(help="once more, as that run was: its model, starts and seed")] = None,
    n_trials: Annotated[
        int, typer.Option("--search", min=0, help="try so many XGBoost parameters (Optuna); 0: the recipe's")
    ] = 0,
) -> None:
    """Train on the offline history and register each model as `challenger`.

    By the product's labels.yaml on the users of the event lake; of a product without one, on OULAD's learners.
    """
    if from_run is not None and (model or presentations or n_trials):
        raise UsageError("--from-run names all else itself; leave --model, --presentations and --search out")
    models = chosen_models(model)
    wanted = [p for p in presentations.split(",") if p] or None
    logging.getLogger("feast").setLevel(logging.WARNING)  # says for each object that it refreshed the registry
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    settings = load_settings()
    check_source(settings, wanted, from_run)
    models = models or trainable(settings)
    made = None if from_run is None else made_of(connect(settings), from_run)
    if made is not None:
        settings, models, wanted = made.settings(settings), (made.model,), made.presentations
    with alone(settings.home / "training", verb="train"):
        result = train(
            settings, models, presentations=wanted, data=data, plan=made.plan if made else Plan(n_trials=n_trials)
        )
        if made is not None:
            result["from_run"] = made.compared(result["models"][made.model])
        promotions = Promotions()
        if then_promote:
            promotions = promote_all(connect(settings), models, settings=settings, shows=False)
            result |= {"promoted": promotions.done, "refused": promotions.reasons()}
    emit(result)
    promotions.check()


def check_source(settings: Settings, presentations: Sequence[str] | None, from_run: str | None = None) -> None:
    """Raise UsageError for what is said of OULAD's learners where a product's are learned from."""
    if has_labels(settings) and (presentations or from_run):
        raise UsageError(
            f"--presentations and --from-run are for OULAD's learners, and {settings.product} has labels of its own; "
            "leave them out"
        )


def trainable(settings: Settings) -> tuple[str, ...]:
    """All models, but the ranker where the history has nothing for it to learn from; of a product those it labels."""
    if has_labels(settings):
        return tuple(read_labels(settings.product_file("labels"))[1].specs())
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
    quality = QualityGate(settings)
    if has_labels(settings):
        made = product_material(settings, models, quality)
    else:
        made = oulad_material(settings, models, quality, presentations=presentations, data=data)
    with step("train: expectations of the sets"):
        good = quality.plausible(made.sets, made.groups)
        quality.check_sets(good.sets, good.groups)
    experiment = experiment_id(client, settings)
    results = {
        m: train_task(client, experiment, each, audit=made.audit, settings=settings.training, plan=plan)
        for m, each in good.sets.items()
    }
    if good.groups is not None:
        if plan.n_trials:
            console.print(f"train: {RANKER}: keeps its recipe, the search is for the other models", highlight=False)
        results[RANKER] = train_ranker(
            client, experiment, good.groups, audit=made.audit, settings=settings.training, plan=plan
        )
    seconds = round(time.monotonic() - started, 2)
    return {"presentations": made.starts, "quality": quality.report(), "models": results, "seconds": seconds}

"""`firstmile rollback M`: put `champion` back to the version before, and say so in its run."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from mlflow.tracking import MlflowClient

from firstmile.cli import emit
from firstmile.errors import DataError
from firstmile.names import CHAMPION, PREVIOUS
from firstmile.settings import Settings, load_settings
from firstmile.vocabulary import TRAINED
from training.moving import WAIT_S, check_unmoved, moving
from training.tracking import aliases, check_models, connect


def run(models: Annotated[list[str], typer.Argument(help=f"{', '.join(TRAINED)}: one or several")]) -> None:
    """Swap `champion` and `previous`; a second rollback takes the first back."""
    check_models(models)
    settings = load_settings()
    emit({"models": rollback_all(connect(settings), models, settings=settings)})


def rollback_all(
    client: MlflowClient, models: Sequence[str], *, settings: Settings, wait_s: float = WAIT_S
) -> dict[str, dict[str, Any]]:
    """Roll back each model, or none: all are looked at before the first alias moves.

    settings, wait_s
        As of `promote`: the home's lock is held.

    Raises DataError naming the first that has nothing to go back to, ConflictError when somebody else moves aliases.
    """
    with moving(settings, verb="rollback", wait_s=wait_s):
        before = {model: aliases(client, model) for model in models}
        for model, names in before.items():
            if PREVIOUS not in names:
                raise DataError(
                    f"{model} has no {PREVIOUS} version to go back to, {CHAMPION} is {names.get(CHAMPION, 'unset')}; "
                    f"promote another: firstmile promote {model} --version V"
                )
        done: dict[str, dict[str, Any]] = {}
        for model, names in before.items():
            again = f"look at them in MLflow before you run `firstmile rollback {model}` again"
            again += f"; rolled back already: {', '.join(done)}" if done else ""
            check_unmoved(client, model, {alias: names.get(alias) for alias in (CHAMPION, PREVIOUS)}, remedy=again)
            done[model] = _swap(client, model, names)
        return done


def _swap(client: MlflowClient, model: str, names: dict[str, str]) -> dict[str, Any]:
    # champion first: whoever is killed in between leaves one that answers, and the version to go back to.
    client.set_registered_model_alias(model, CHAMPION, names[PREVIOUS])
    if CHAMPION in names:
        client.set_registered_model_alias(model, PREVIOUS, names[CHAMPION])
    client.set_model_version_tag(model, names[PREVIOUS], "rolled_back_from", names.get(CHAMPION, ""))
    return {"model": model, "version": names[PREVIOUS], "previous": names.get(CHAMPION)}

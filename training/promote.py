"""`firstmile promote M [--version V]`: move `champion` to a version, if the gates let it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from mlflow.tracking import MlflowClient

from firstmile.cli import console, emit
from firstmile.errors import DataError, GateError, UsageError, unknown_name
from firstmile.names import CHALLENGER, CHAMPION, PREVIOUS, TRAINED
from firstmile.settings import load_settings
from training.experiment_gate import decisions_of
from training.gates import all_passed
from training.judge import gate_table, judge_version
from training.tracking import aliases, check_models, connect, versions


def run(
    models: Annotated[list[str], typer.Argument(help=f"{', '.join(TRAINED)}: one or several")],
    version: Annotated[str | None, typer.Option(help="version to promote; default: the challenger")] = None,
) -> None:
    """Move `champion` through the gates, keeping the one before as `previous`."""
    check_models(models)
    if version is not None and len(models) > 1:
        raise UsageError(f"--version {version} with {len(models)} models: versions are counted per model, name one")
    settings = load_settings()
    emit({"models": promote_all(connect(settings), models, version, reports=settings.reports)})


def promote_all(
    client: MlflowClient,
    models: Sequence[str],
    version: str | None = None,
    *,
    shows: bool = True,
    reports: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Promote each model; one that is refused does not hold up the others.

    shows
        Whether the gates' tables are printed.
    reports
        Of monitoring: what live traffic there was.

    Raises GateError at the end when any was refused, naming each.
    """
    outcomes, refused = {}, []
    for model in models:
        try:
            outcomes[model] = promote(client, model, version, shows=shows, reports=reports)
        except GateError as error:
            refused.append(str(error))
    if refused:
        promoted = ", ".join(outcomes) or "none"
        raise GateError(" | ".join(refused) + (f" (promoted: {promoted})" if len(models) > 1 else ""))
    return outcomes


def promote(
    client: MlflowClient, model: str, version: str | None = None, *, shows: bool = True, reports: Path | None = None
) -> dict[str, Any]:
    """Put a version to the gates and make it champion; says so when it is already.

    shows, reports
        As of `promote_all`.

    Raises UsageError or DataError for a version that is not there, GateError when a gate refuses: the aliases then
    stay where they were.
    """
    names = aliases(client, model)
    chosen = _choose(client, model, version, names)
    champion = names.get(CHAMPION)
    if chosen == champion:
        return {"model": model, "version": chosen, "promoted": False, "note": f"version {chosen} is champion already"}
    n_decisions = None if reports is None else decisions_of(reports, model, chosen)
    judged = judge_version(client, model, chosen, n_decisions=n_decisions)
    if shows:
        console.print(gate_table(judged))
    outcome = "passed" if all_passed(judged.verdicts) else "refused"
    document = {**judged.document(), "outcome": outcome}
    client.log_dict(client.get_model_version(model, chosen).run_id, document, f"gates/promote-{chosen}.json")
    client.set_model_version_tag(model, chosen, "gate", outcome)
    if outcome == "refused":
        reasons = "; ".join(f"{v.gate}: {v.reason}" for v in judged.verdicts if not v.passed)
        raise GateError(
            f"{model} {chosen} was refused, champion stays {champion or 'unset'}. {reasons}. "
            "Train on more presentations, or promote another version"
        )
    if champion is not None:
        client.set_registered_model_alias(model, PREVIOUS, champion)
    client.set_registered_model_alias(model, CHAMPION, chosen)
    return {**document, "promoted": True, "previous": champion}


def _choose(client: MlflowClient, model: str, version: str | None, names: dict[str, str]) -> str:
    known = versions(client, model)
    if version is None:
        if CHALLENGER not in names:
            raise DataError(
                f"{model} has no {CHALLENGER}; name a version ({', '.join(known) or 'none is registered'}) "
                f"or run `firstmile train --model {model}`"
            )
        return names[CHALLENGER]
    if version not in known:
        raise UsageError(unknown_name(f"version of {model}", version, known))
    return version

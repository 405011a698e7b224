"""`firstmile promote M [--version V]`: move `champion` to a version, if the gates let it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from rich.markup import escape
from rich.table import Table

from firstmile.cli import console, emit
from firstmile.errors import DataError, DependencyError, FirstmileError, GateError, UsageError, unknown_name
from firstmile.names import CHALLENGER, CHAMPION, PREVIOUS
from firstmile.settings import Settings, load_settings
from firstmile.vocabulary import TRAINED
from training.experiment_gate import decisions_of
from training.gates import all_passed
from training.judge import Judged, gate_table, judge_version
from training.moving import WAIT_S, check_unmoved, moving
from training.tracking import aliases, check_models, connect, versions


@dataclass(frozen=True)
class Promotions:
    """What came of promoting several models, in the order asked for.

    done
        What `promote` said of each that is champion now.
    refused
        Why each of the others is not.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, FirstmileError] = field(default_factory=dict)

    def reasons(self) -> dict[str, str]:
        """Why each model that was not promoted was not."""
        return {model: str(error) for model, error in self.refused.items()}

    def check(self) -> None:
        """Raise when a model was not promoted: its own error where it was the only one asked for, else GateError."""
        if self.refused and len(self.refused) + len(self.done) == 1:
            raise next(iter(self.refused.values()))
        if self.refused:
            raise GateError(
                f"not promoted: {', '.join(self.refused)}; champions are: {', '.join(self.done) or 'none of these'}; "
                "the table above says why"
            )


def run(
    models: Annotated[list[str], typer.Argument(help=f"{', '.join(TRAINED)}: one or several")],
    version: Annotated[str | None, typer.Option(help="version to promote; default: the challenger")] = None,
) -> None:
    """Move `champion` through the gates, keeping the one before as `previous`."""
    check_models(models)
    if version is not None and len(models) > 1:
        raise UsageError(f"--version {version} with {len(models)} models: versions are counted per model, name one")
    settings = load_settings()
    promotions = promote_all(connect(settings), models, version, settings=settings)
    emit({"models": promotions.done, "refused": promotions.reasons()})
    promotions.check()


def promote_all(
    client: MlflowClient, models: Sequence[str], version: str | None = None, *, settings: Settings, shows: bool = True
) -> Promotions:
    """Promote each model; one that cannot be does not hold up the others. Several are summed up in a table.

    settings, shows
        As of `promote`.

    Raises UsageError for a version that is not there.
    """
    promotions = Promotions()
    for model in models:
        try:
            promotions.done[model] = promote(client, model, version, settings=settings, shows=shows)
        except UsageError:
            raise
        except FirstmileError as error:
            promotions.refused[model] = error
        except (MlflowException, OSError) as error:  # an MLflow that goes away; requests' errors are OSErrors
            promotions.refused[model] = DependencyError(
                f"promoting {model} broke off, MLflow could not be read or written ({_first_line(error)}); "
                f"`firstmile status` shows whether it runs; then `firstmile promote {model}`"
            )
    if len(models) > 1:
        console.print(outcome_table(promotions))
    return promotions


def promote(
    client: MlflowClient,
    model: str,
    version: str | None = None,
    *,
    settings: Settings,
    shows: bool = True,
    wait_s: float = WAIT_S,
) -> dict[str, Any]:
    """Put a version to the gates and make it champion; says so when it is already.

    settings
        The home, whose lock is held meanwhile, and its reports of monitoring: what live traffic there was.
    shows
        Whether the gates' table is printed.
    wait_s
        How long another promotion or rollback of this home may take.

    Raises UsageError or DataError for a version that is not there, GateError when a gate refuses, ConflictError when
    somebody else promotes or moved `champion` meanwhile: the aliases then stay where they were.
    """
    with moving(settings, verb="promote", wait_s=wait_s):
        names = aliases(client, model)
        chosen = _choose(client, model, version, names)
        if chosen == names.get(CHAMPION):
            note = f"version {chosen} is champion already"
            return {"model": model, "version": chosen, "promoted": False, "note": note}
        judged = judge_version(client, model, chosen, n_decisions=decisions_of(settings.reports, model, chosen))
        if shows:
            console.print(gate_table(judged))
        document = _file_outcome(client, judged)
        again = f"`firstmile promote {model} --version {chosen}` judges it against the champion of now"
        check_unmoved(client, model, {CHAMPION: judged.against}, remedy=again)
        if judged.against is not None:
            client.set_registered_model_alias(model, PREVIOUS, judged.against)
        client.set_registered_model_alias(model, CHAMPION, chosen)
    return {**document, "promoted": True, "previous": judged.against}


def outcome_table(promotions: Promotions) -> Table:
    """What came of each model, for people."""
    table = Table(title="promoted or not", title_justify="left")
    for heading in ("model", "outcome", "version or reason"):
        table.add_column(heading)
    for model, said in promotions.done.items():
        if said["promoted"]:
            table.add_row(model, "[green]promoted[/]", f"{said['version']}, before: {said['previous'] or 'none'}")
        else:
            table.add_row(model, "[green]champion[/]", said["note"])
    for model, reason in promotions.reasons().items():
        table.add_row(model, "[red]not promoted[/]", escape(reason))
    return table


def _file_outcome(client: MlflowClient, judged: Judged) -> dict[str, Any]:
    """Note what the gates said with run and version. Raises GateError when one refused."""
    outcome = "passed" if all_passed(judged.verdicts) else "refused"
    document = {**judged.document(), "outcome": outcome}
    run_id = client.get_model_version(judged.model, judged.version).run_id
    client.log_dict(run_id, document, f"gates/promote-{judged.version}.json")
    client.set_model_version_tag(judged.model, judged.version, "gate", outcome)
    if outcome == "refused":
        reasons = "; ".join(f"{v.gate}: {v.reason}" for v in judged.verdicts if not v.passed)
        raise GateError(
            f"{judged.model} {judged.version} was refused, champion stays {judged.against or 'unset'}. {reasons}. "
            "Train on more of the past, or promote another version"
        )
    return document


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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

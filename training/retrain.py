"""`firstmile retrain`: quality ─► sets ─► train ─► evaluate ─► gates ─► `challenger`, now or when it is time.

As `firstmile train`, with two differences: a version that a gate refuses does not become `challenger`, and only one
runs at a time. `--watch` stays: retrain_watch.py.
"""

from typing import Annotated

import typer

from firstmile.cli import emit
from firstmile.errors import GateError, UsageError
from firstmile.settings import load_settings
from firstmile.stopping import on_stop_signals
from training.alone import alone
from training.plan import Plan
from training.retrain_watch import Watch
from training.reweigh import check_attribute
from training.tracking import chosen_models
from training.train import check_labels, train, trainable


def run(
    model: Annotated[str | None, typer.Option(help="as of `firstmile train`; default: all")] = None,
    cohorts: Annotated[str, typer.Option(help="recorded cohorts by comma; default: all in history")] = "",
    because: Annotated[str, typer.Option(help="the reason, noted with the runs")] = "asked for",
    reweigh: Annotated[str | None, typer.Option(help="audited attribute: weigh its groups × labels evenly")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="stay, and retrain by schedule and on signals")] = False,
) -> None:
    """Train again; what passes the gates becomes `challenger`. Exit 1 when a gate or the data's quality refuses."""
    settings = load_settings()
    if watch:
        if model or cohorts or reweigh:
            raise UsageError("--watch takes models and reasons from signals; leave the other options out")
        emit(Watch(settings, on_stop_signals()).run())
        return
    if reweigh is not None:
        check_attribute(reweigh)
    wanted = [p for p in cohorts.split(",") if p] or None
    check_labels(settings)
    models = chosen_models(model) or trainable(settings)
    plan = Plan(because=because, reweigh=reweigh, is_gated=True)
    with alone(settings.home / "training", verb="retrain"):
        result = train(settings, models, cohorts=wanted, plan=plan)
    emit(result)
    refused = [name for name, found in result["models"].items() if not found["would_promote"]]
    if refused:
        raise GateError(f"refused, `challenger` stays where it was: {', '.join(refused)}; the tables above say why")

"""Files one candidate again and again, each time killed by SIGKILL right after one effect: a process for a test.

    python killed_training.py TRACKING_URI HOME

Everything is loaded and fitted once; every killing is of a fork that has only the filing to do. Then the first version
is promoted, and the promotion of the second is killed between its two aliases. Stdout is JSON: how each fork ended.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.xgboost
import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient
from quality_builder import training_set

from firstmile.cli import emit
from firstmile.settings import Settings
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from training.cost import cost_of
from training.entry import enter
from training.examine import examine
from training.findings import find
from training.models import Fitter
from training.papers import Papers
from training.plan import PLAIN
from training.promote import promote
from training.register import Candidate, papers_of
from training.tracking import connect, experiment_id, versions

EFFECTS: dict[str, tuple[Any, str]] = {
    "params": (MlflowClient, "log_batch"),
    "artifacts": (MlflowClient, "log_artifacts"),
    "model": (mlflow.xgboost, "log_model"),
    "version": (mlflow, "register_model"),
    "gates": (MlflowClient, "log_dict"),
    "alias": (MlflowClient, "set_registered_model_alias"),
}


def candidate() -> Papers:
    """A model of the builder's hundred users, with all its papers."""
    data = training_set()
    noise = np.random.default_rng(0).normal(size=data.rows.x.shape)
    seen_on = tuple(sorted({*data.users["day"].tolist()}))
    task = replace(data.task, evaluated_days=seen_on[-1:])
    data = replace(data, rows=replace(data.rows, x=data.rows.y[:, np.newaxis] + noise), task=task)
    fitter = Fitter(data.model, data.features, 7)
    answers = examine(data, fitter, threads=1)
    audit = pd.DataFrame(columns=list(AUDIT_ATTRIBUTES), dtype=object)
    findings, fitted = find(data, answers, audit=audit, seed=7), fitter.refit(data.rows)
    cost = cost_of(fitted.booster, fitted.probabilities, list(data.rows.x[:5, np.newaxis]))
    judge = "held_out_people"
    return papers_of(Candidate(data, fitter, fitted, findings, answers[judge], judge, cost, "# Model card"))


def killed_after(place: Any, name: str, file: Callable[[], object]) -> int:
    """Signal that ended a fork which files and is killed when an effect has happened; 0 when it came to its end."""
    pid = os.fork()
    if pid == 0:
        effect = getattr(place, name)

        def then_die(*given: Any, **named: Any) -> Any:
            effect(*given, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(place, name, then_die)
        file()
        os._exit(0)
    return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """File, then promote, killed after each effect."""
    settings = Settings(mlflow={"tracking_uri": sys.argv[1]}, home=Path(sys.argv[2]))
    papers = candidate()
    client = connect(settings)
    experiment = experiment_id(client, settings)
    ended = {
        effect: killed_after(*where, lambda: enter(client, experiment, papers, PLAIN))
        for effect, where in EFFECTS.items()
    }
    model = papers.model
    first, second, *_ = versions(client, model)
    promote(client, model, first, settings=settings, shows=False)
    where = EFFECTS["alias"]
    ended["promotion"] = killed_after(*where, lambda: promote(client, model, second, settings=settings, shows=False))
    emit(ended)


if __name__ == "__main__":
    main()

"""One model of `firstmile train`: its set ─► examinations ─► refit on all ─► MLflow run, version ─► gates."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient

from firstmile.cli import console
from firstmile.names import CHAMPION
from firstmile.setting_sections import TrainingSettings
from training.card import model_card
from training.cost import N_ASKED, cost_of
from training.dataset import TrainingSet
from training.entry import enter
from training.examine import Answers, examine
from training.findings import Findings, find, judge_of
from training.labels_file import NOTHING_SAID, About
from training.models import Fitted, Fitter
from training.plan import Plan
from training.register import Candidate, papers_of
from training.reweigh import effect, effect_table, groups_in, reweighed
from training.search import SPACE_NAMES, Found, search, was_searched
from training.split import Examination, judged_by
from training.steps import step
from training.tracking import aliases
from training.versions import read_version


def train_task(
    client: MlflowClient,
    experiment: str,
    data: TrainingSet,
    *,
    audit: pd.DataFrame,
    settings: TrainingSettings,
    plan: Plan,
    about: About = NOTHING_SAID,
) -> dict[str, Any]:
    """Examine, fit, register and judge; returns what came of it.

    experiment
        Experiment id.
    audit
        As `slices.audit_of_history` gives it.
    about
        What the card says of the data.
    """
    started, model = time.monotonic(), data.model
    fitter, searched, is_searched = _fitter(client, data, settings, plan)
    examination = judged_by(sorted(set(data.users["cohort"])))
    judge = judge_of(data.task, examination)
    before = _plain(data, fitter, judge, audit=audit, threads=settings.threads) if plan.reweigh else {}
    groups = groups_in(data, audit, plan.reweigh) if plan.reweigh else None
    with step(f"train: {model}: examinations over {len(data.users)} rows"):
        answers = examine(data, fitter, threads=settings.threads, groups=groups)
        findings = find(data, answers, audit=audit, seed=fitter.seed)
    after, days = findings.figures[judge], data.task.evaluated_days
    mitigation = effect(days, plan.reweigh, before, after) if plan.reweigh else {}
    with step(f"train: {model}: fit on all"):
        fitted = fitter.refit(data.rows if groups is None else reweighed(data.rows, groups))
    card = model_card(data, fitted, findings, judged_by=judge, about=about, plan=plan)
    cost = cost_of(fitted.booster, fitted.probabilities, list(data.rows.x[:N_ASKED, np.newaxis]))
    candidate = Candidate(
        data, fitter, fitted, findings, answers[examination], judge, cost, card, plan, mitigation, searched, is_searched
    )
    entered = enter(client, experiment, papers_of(candidate), plan)
    if plan.reweigh:
        console.print(effect_table(model, days, plan.reweigh, mitigation))
    return {
        **entered,
        **({"search": searched.document()} if searched else {}),
        **({"reweighed": {"attribute": plan.reweigh, "effect": mitigation}} if plan.reweigh else {}),
        **_said(data, findings, fitted),
        **cost,
        "seconds": round(time.monotonic() - started, 2),
    }


def _fitter(
    client: MlflowClient, data: TrainingSet, settings: TrainingSettings, plan: Plan
) -> tuple[Fitter, Found | None, bool]:
    """How the model is fitted, the search that said so, if there was one now, and whether there ever was: parameters
    that were once found stay with the champion's successors."""
    fitter = Fitter(data.model, data.features, settings.seed).with_parameters(plan.parameters)
    if plan.n_trials:
        found = search(data, fitter, n_trials=plan.n_trials, threads=settings.threads)
        return found.fitter, found, bool(found.fitter.changes)
    if plan.is_gated and (champion := aliases(client, data.model).get(CHAMPION)):
        version = read_version(client, data.model, champion)
        if was_searched(version.params):
            console.print(f"train: {data.model}: with the parameters found for champion {champion}", highlight=False)
            return fitter.with_parameters({n: v for n, v in version.params.items() if n in SPACE_NAMES}), None, True
    return fitter, None, was_searched(plan.parameters)


def _plain(data: TrainingSet, fitter: Fitter, judge: str, *, audit: pd.DataFrame, threads: int) -> Mapping[int, Any]:
    """The judged figures by day without reweighing."""
    with step(f"train: {data.model}: examinations without reweighing"):
        answers: Mapping[Examination, Answers] = examine(data, fitter, threads=threads)
        return find(data, answers, audit=audit, seed=fitter.seed).figures[judge]


def _said(data: TrainingSet, findings: Findings, fitted: Fitted) -> dict[str, Any]:
    days = data.task.evaluated_days
    return {
        "metrics": {
            name: {str(day): by_day[day] for day in days if day in by_day} for name, by_day in findings.figures.items()
        },
        "calibration": fitted.calibration.method,
        "set": data.description(),
        "counts_per_day": {str(day): counts for day, counts in data.counts.items()},
        "n_rounds": fitted.booster.num_boosted_rounds(),
    }

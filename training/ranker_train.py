"""The content ranker's part of `firstmile train`: ranking set ─► examinations ─► fit on all ─► MLflow, `challenger`."""

import time
from typing import Any

import pandas as pd
from mlflow.tracking import MlflowClient

from firstmile.names import RANKER
from firstmile.setting_sections import TrainingSettings
from training.cost import N_ASKED, cost_of
from training.entry import enter
from training.labels_file import NOTHING_SAID, About
from training.plan import PLAIN, Plan
from training.ranker import Ranker
from training.ranker_card import ranker_card
from training.ranker_examine import examined_scores, find_ranker
from training.ranker_register import RankerCandidate, ranker_papers
from training.ranking_set import RankingSet
from training.split import judged_by
from training.steps import step


def train_ranker(
    client: MlflowClient,
    experiment: str,
    data: RankingSet,
    *,
    audit: pd.DataFrame,
    settings: TrainingSettings,
    plan: Plan = PLAIN,
    about: About = NOTHING_SAID,
) -> dict[str, Any]:
    """Examine, fit, register and judge; returns what came of it, in the shape of the other models' entries.

    experiment
        Experiment id.
    data
        As `ranking_set` gives it.
    audit
        Audit attributes by user_id.
    about
        What the card says of the data.
    """
    started = time.monotonic()
    ranker, judge = Ranker(settings.seed), judged_by(sorted(set(data.groups["cohort"])))
    with step(f"train: {RANKER}: examinations over {len(data.groups)} groups"):
        scores = examined_scores(data, ranker, threads=settings.threads)
        findings = find_ranker(data, scores, audit, seed=settings.seed)
    with step(f"train: {RANKER}: fit on all"):
        booster = ranker.fit(data)
    asked = [data.x[data.group == i] for i in range(min(N_ASKED, len(data.groups)))]
    cost = cost_of(booster, lambda x: ranker.scores(booster, x), asked)
    card = ranker_card(data, ranker, findings, judged_by=judge, plan=plan, about=about)
    candidate = RankerCandidate(data, ranker, booster, findings, scores[judge], judge, cost, card, plan)
    entered = enter(client, experiment, ranker_papers(candidate), plan)
    return {
        **entered,
        "metrics": {
            name: {str(day): found for day, found in by_day.items()} for name, by_day in findings.figures.items()
        },
        "set": data.description(),
        "counts_per_day": {str(day): counts for day, counts in data.counts.items()},
        "n_rounds": booster.num_boosted_rounds(),
        **cost,
        "seconds": round(time.monotonic() - started, 2),
    }

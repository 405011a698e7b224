"""The content ranker's part of `firstmile train`: ranking set ─► examinations ─► fit on all ─► MLflow, `challenger`."""

import time
from dataclasses import asdict
from typing import Any

from mlflow.tracking import MlflowClient

from firstmile.settings import TrainingSettings
from training.gates import all_passed
from training.ranker import Ranker
from training.ranker_examine import examine_ranker
from training.ranker_gate import ranker_gate
from training.ranker_register import RankerCandidate, register_ranker
from training.ranking_set import RankingSet
from training.split import judged_by


def train_ranker(client: MlflowClient, experiment: str, data: RankingSet, settings: TrainingSettings) -> dict[str, Any]:
    """Examine, fit and register; returns what came of it, in the shape of the other models' entries.

    experiment
        Experiment id.
    data
        As `ranking_set` gives it.
    """
    started = time.monotonic()
    ranker = Ranker(settings.seed)
    figures = examine_ranker(data, ranker, threads=settings.threads)
    booster = ranker.fit(data)
    judge = judged_by(sorted(set(data.groups["presentation"])))
    verdicts = ranker_gate(figures[judge])
    registered = register_ranker(client, experiment, RankerCandidate(data, ranker, booster, figures, judge, verdicts))
    return {
        **asdict(registered),
        "alias": "challenger",
        "judged_by": judge,
        "would_promote": all_passed(verdicts),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "metrics": {name: {str(day): found for day, found in by_day.items()} for name, by_day in figures.items()},
        "set": data.description(),
        "counts_per_day": {str(day): counts for day, counts in data.counts.items()},
        "n_rounds": booster.num_boosted_rounds(),
        "seconds": round(time.monotonic() - started, 2),
    }

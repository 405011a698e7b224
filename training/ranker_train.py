"""The content ranker's part of `firstmile train`: ranking set ─► examinations ─► fit on all ─► MLflow, `challenger`."""

import time
from dataclasses import asdict
from typing import Any

from mlflow.tracking import MlflowClient

from firstmile.cli import console
from firstmile.names import RANKER
from firstmile.setting_sections import TrainingSettings
from training.gates import all_passed
from training.judge import gate_table, judge_version
from training.plan import PLAIN, Plan
from training.ranker import Ranker
from training.ranker_examine import examine_ranker
from training.ranker_register import RankerCandidate, register_ranker
from training.ranking_set import RankingSet
from training.register import point_challenger
from training.split import judged_by
from training.steps import step


def train_ranker(
    client: MlflowClient, experiment: str, data: RankingSet, *, settings: TrainingSettings, plan: Plan = PLAIN
) -> dict[str, Any]:
    """Examine, fit, register and judge; returns what came of it, in the shape of the other models' entries.

    experiment
        Experiment id.
    data
        As `ranking_set` gives it.
    """
    started = time.monotonic()
    ranker = Ranker(settings.seed)
    with step(f"train: {RANKER}: examinations over {len(data.groups)} groups"):
        figures = examine_ranker(data, ranker, threads=settings.threads)
    with step(f"train: {RANKER}: fit on all"):
        booster = ranker.fit(data)
    judge = judged_by(sorted(set(data.groups["presentation"])))
    with step(f"train: {RANKER}: register"):
        candidate = RankerCandidate(data, ranker, booster, figures, judge, plan.because)
        registered = register_ranker(client, experiment, candidate)
    judged = judge_version(client, RANKER, registered.version)
    console.print(gate_table(judged))
    alias = point_challenger(client, RANKER, registered.version, all_passed(judged.verdicts) or not plan.is_gated)
    return {
        **asdict(registered),
        "alias": alias,
        "judged_by": judge,
        "would_promote": all_passed(judged.verdicts),
        "metrics": {name: {str(day): found for day, found in by_day.items()} for name, by_day in figures.items()},
        "set": data.description(),
        "counts_per_day": {str(day): counts for day, counts in data.counts.items()},
        "n_rounds": booster.num_boosted_rounds(),
        "seconds": round(time.monotonic() - started, 2),
    }

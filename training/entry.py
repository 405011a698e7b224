"""A registered version put to the gates, and let become `challenger`: the end of training, the same for every model."""

from dataclasses import asdict
from typing import Any

from mlflow.tracking import MlflowClient

from firstmile.cli import console
from training.gates import all_passed
from training.judge import gate_table, judge_version
from training.papers import Papers, Registered, file_version, point_challenger
from training.plan import Plan
from training.steps import step


def enter(client: MlflowClient, experiment: str, papers: Papers, plan: Plan) -> dict[str, Any]:
    """File the papers, judge the version, move `challenger`; where it went and what the gates would say of promoting.

    experiment
        Experiment id.
    """
    model = papers.model
    with step(f"train: {model}: register"):
        registered: Registered = file_version(client, experiment, papers)
    with step(f"train: {model}: gates"):
        judged = judge_version(client, model, registered.version)
    console.print(gate_table(judged))
    would_promote = all_passed(judged.verdicts)
    alias = point_challenger(client, model, registered.version, would_promote or not plan.is_gated)
    return {**asdict(registered), "alias": alias, "judged_by": judged.judged_by, "would_promote": would_promote}

"""`firstmile train --from-run ID`: what a run was made of, to make it once more, and whether it came out the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from firstmile.errors import UsageError
from firstmile.settings import Settings
from firstmile.vocabulary import TRAINED
from training.figures import metric_name
from training.plan import Plan


@dataclass(frozen=True)
class Made:
    """What one training run was made of, and its metrics."""

    run_id: str
    model: str
    cohorts: list[str]
    seed: int
    plan: Plan
    sha256: str
    metrics: Mapping[str, float]

    def settings(self, settings: Settings) -> Settings:
        """These settings with the run's seed."""
        return settings.model_copy(update={"training": settings.training.model_copy(update={"seed": self.seed})})

    def compared(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Whether the new run had the same set, and by how much its metrics differ at most.

        result
            The model's entry of what training says.
        """
        new = {
            metric_name(examination, int(day), name): value
            for examination, by_day in result["metrics"].items()
            for day, figures in by_day.items()
            for name, value in figures.items()
        }
        both = new.keys() & self.metrics.keys()
        return {
            "run_id": self.run_id,
            "is_same_set": result["set"]["sha256"] == self.sha256,
            "n_metrics": len(both),
            "max_difference": max((abs(new[name] - self.metrics[name]) for name in both), default=None),
        }


def made_of(client: MlflowClient, run_id: str) -> Made:
    """What a run was made of. Raises UsageError when it is not there or no training run."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise UsageError(
            f"MLflow has no run {run_id!r}; `firstmile train` prints run_id, and MLflow lists them"
        ) from error
    params, model = run.data.params, run.info.run_name
    if model not in TRAINED or "set.cohorts" not in params:
        raise UsageError(f"run {run_id} ({model}) trained none of {', '.join(TRAINED)}; name one that did")
    cohorts = params["set.cohorts"].split(",")
    plan = Plan(f"run {run_id} once more", params.get("reweighed") or None, parameters=params)
    return Made(run_id, model, cohorts, int(params["seed"]), plan, params["set.sha256"], run.data.metrics)

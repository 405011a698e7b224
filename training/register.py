"""The papers of a fitted model of tasks.py: what is filed of it in MLflow, by papers.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from feature_repo.services import service_name
from firstmile.calibration import FILE
from training.anchor import ROUNDS
from training.baselines import baselines_of
from training.dataset import TrainingSet
from training.examine import Answers
from training.findings import Findings
from training.gates import all_passed, first_gate
from training.masking import MASKED_SHARE
from training.models import Fitted, Fitter
from training.papers import CARD, EXAMINED, TRAINING_SET, TRAINING_USERS, Papers, set_params
from training.plan import PLAIN, Plan
from training.plots import draw_all, draw_search
from training.search import SEARCHED, Found

BASELINES = "baselines.json"


@dataclass(frozen=True)
class Candidate:
    """A model about to be registered.

    fitted
        Refitted on all of data; findings are of the same recipe on people it had not seen.
    answers
        What it said in the examination the gates look at.
    judged_by
        Name of the figures the gates look at.
    cost
        `latency_ms` of one row, `size_bytes` of the booster.
    card
        The model card.
    plan, mitigation
        Why it was made, and what reweighing did: `reweigh.effect`.
    searched, is_searched
        The search that there was for it, if any; whether its parameters were found by one, by this or an earlier one.
    """

    data: TrainingSet
    fitter: Fitter
    fitted: Fitted
    findings: Findings
    answers: Answers
    judged_by: str
    cost: Mapping[str, float]
    card: str
    plan: Plan = PLAIN
    mitigation: Mapping[str, Any] = field(default_factory=dict)
    searched: Found | None = None
    is_searched: bool = False


def papers_of(candidate: Candidate) -> Papers:
    """Everything that is filed of it."""
    data, findings = candidate.data, candidate.findings
    return Papers(
        model=data.model,
        feature_service=service_name(data.model),
        booster=candidate.fitted.booster,
        signature=_signature(candidate.fitter),
        params=_params(candidate),
        tags=_tags(candidate),
        figures=findings.figures,
        cost=candidate.cost,
        documents={
            "features.json": list(data.features),
            "training_set.json": {**data.description(), "counts_per_day": data.counts},
            "slices.json": findings.groups,
            **({"reweighing.json": candidate.mitigation} if candidate.mitigation else {}),
            **({"search.json": candidate.searched.trials} if candidate.searched else {}),
        },
        texts={BASELINES: baselines_of(data).as_json(), CARD: candidate.card},
        tables={
            TRAINING_SET: reference_table(candidate),
            TRAINING_USERS: pa.Table.from_pandas(data.users),
            EXAMINED: examined_table(candidate),
        },
        beside={FILE: candidate.fitted.calibration.as_json()},
        draw=lambda folder: _draw(candidate, folder),
    )


def _draw(candidate: Candidate, folder: Path) -> None:
    draw_all(folder, candidate.data, candidate.fitted, candidate.answers, candidate.findings)
    if candidate.searched is not None:
        draw_search(folder, [trial["log_loss"] for trial in candidate.searched.trials])


def reference_table(candidate: Candidate) -> pa.Table:
    """What monitoring compares live decisions with: the vectors, and what this model says to them.

    One column per feature, then `prediction`, or `prediction:<class>` with more than two classes. No user ids.
    """
    data, task = candidate.data, candidate.data.task
    columns: dict[str, Any] = {name: data.rows.x[:, i] for i, name in enumerate(data.features)}
    answers = candidate.fitted.probabilities(data.rows.x)
    if len(task.classes) == 2:
        columns["prediction"] = answers[:, 1]
    else:
        columns.update({f"prediction:{name}": answers[:, i] for i, name in enumerate(task.classes)})
    return pa.table(columns)


def examined_table(candidate: Candidate) -> pa.Table:
    """The judged examination, row by row: `row` of the training set, and the probability of each class."""
    columns: dict[str, Any] = {"row": candidate.answers.rows}
    return pa.table(columns | {f"p_{k}": candidate.answers.p[:, k] for k in range(candidate.answers.p.shape[1])})


def gated_without(candidate: Candidate) -> list[str]:
    """Views the model may do without: its figures with their features hidden pass the first gate too."""
    found = candidate.findings.figures
    prefix = f"{candidate.judged_by}_without_"
    views = [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
    return [v for v in views if all_passed(first_gate(candidate.data.task.evaluated_days, found[prefix + v]))]


def _params(candidate: Candidate) -> dict[str, Any]:
    task = candidate.data.task
    return {
        **candidate.fitter.parameters(),
        **set_params(candidate.data.description()),
        "n_rounds": candidate.fitted.booster.num_boosted_rounds(),
        "calibration": candidate.fitted.calibration.method,
        **{f"calibration.log_loss.{method}": loss for method, loss in candidate.fitted.losses.items()},
        "recipe": candidate.fitter.recipe,
        "parameters": SEARCHED if candidate.is_searched else "the recipe's",
        **(candidate.searched.params() if candidate.searched else {}),
        "anchor_rounds": ROUNDS if candidate.fitter.n_classes == 2 else 0,
        "masked_share": MASKED_SHARE,
        "reweighed": candidate.plan.reweigh or "",
        "n_features": len(candidate.data.features),
        "snapshot_days": ",".join(map(str, task.snapshot_days)),
        "evaluated_days": ",".join(map(str, task.evaluated_days)),
        "fitted_on": "all rows of the set; the metrics are of people held out of it, see judged_by",
    }


def _tags(candidate: Candidate) -> dict[str, Any]:
    return {
        "trained_until_us": candidate.data.trained_until_us(),
        "min_onboarding_days": min(candidate.data.task.snapshot_days),
        "judged_by": candidate.judged_by,
        "gated_without": ",".join(gated_without(candidate)),
        "because": candidate.plan.because,
    }


def _signature(fitter: Fitter) -> ModelSignature:
    shape = (-1,) if fitter.n_classes == 2 else (-1, fitter.n_classes)
    inputs = Schema([ColSpec("double", name) for name in fitter.features])
    return ModelSignature(inputs=inputs, outputs=Schema([TensorSpec(np.dtype(np.float32), shape)]))

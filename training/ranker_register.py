"""The papers of a fitted ranker: what is filed of it in MLflow, by papers.py as of the other models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xgboost as xgb
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from feature_repo.services import VERSION
from training.arrays import FloatArray
from training.findings import Findings
from training.papers import CARD, EXAMINED, TRAINING_SET, TRAINING_USERS, Papers, set_params
from training.plan import Plan
from training.plots import draw_ranker
from training.ranker import N_ROUNDS, SHARE_OF_UNOPENED, Ranker
from training.ranker_examine import grades, scored
from training.ranking_set import EVALUATED_DAYS, MODEL, SNAPSHOT_DAYS, RankingSet
from training.split import Examination

SERVICE: Final = f"{MODEL}_v{VERSION}"
N_REFERENCE_GROUPS: Final = 100
"""Groups in the reference: all of them would be a hundred times the size of the model."""
EXAMINED_ROWS: Final = "examined_rows.parquet"
"""Candidates of the examined groups, so that a champion can be asked about them: `group` is the row of EXAMINED."""


@dataclass(frozen=True)
class RankerCandidate:
    """A ranker about to be registered.

    booster
        Fitted on all of data; findings are of the same recipe on people it had not seen.
    scores
        What it said in the examination the gates look at, `judged_by`.
    cost
        `latency_ms` of one group, `size_bytes` of the booster.
    card
        The model card.
    """

    data: RankingSet
    ranker: Ranker
    booster: xgb.Booster
    findings: Findings
    scores: FloatArray
    judged_by: Examination
    cost: Mapping[str, float]
    card: str
    plan: Plan


def ranker_papers(candidate: RankerCandidate) -> Papers:
    """Everything that is filed of it."""
    data, findings = candidate.data, candidate.findings
    return Papers(
        model=MODEL,
        feature_service=SERVICE,
        booster=candidate.booster,
        signature=_signature(candidate.ranker),
        params=_params(candidate),
        tags={
            "trained_until_us": data.trained_until_us(),
            "min_onboarding_days": min(SNAPSHOT_DAYS),
            "judged_by": candidate.judged_by,
            "because": candidate.plan.because,
        },
        figures=findings.figures,
        cost=candidate.cost,
        documents={
            "features.json": list(candidate.ranker.features),
            "training_set.json": {**data.description(), "counts_per_day": data.counts},
            "slices.json": findings.groups,
        },
        texts={CARD: candidate.card},
        tables={
            TRAINING_SET: reference_table(candidate),
            TRAINING_USERS: pa.Table.from_pandas(data.groups),
            EXAMINED: pa.Table.from_pandas(grades(data, candidate.scores)),
            EXAMINED_ROWS: examined_rows(candidate),
        },
        draw=lambda folder: _draw(folder, candidate),
    )


def reference_table(candidate: RankerCandidate) -> pa.Table:
    """What monitoring compares live decisions with, and serving its first answers: vectors, and the ranker's score.

    All candidates of some groups drawn by seed. One column per feature, then `prediction`. No user ids, no pages.
    """
    data, ranker = candidate.data, candidate.ranker
    chosen = np.zeros(len(data.groups), bool)
    n = min(N_REFERENCE_GROUPS, len(chosen))
    chosen[np.random.default_rng(ranker.seed).choice(len(chosen), n, replace=False)] = True
    x = data.where(chosen).x
    columns: dict[str, Any] = {name: ranker.columns(x)[:, i] for i, name in enumerate(ranker.features)}
    return pa.table({**columns, "prediction": ranker.scores(candidate.booster, x)})


def examined_rows(candidate: RankerCandidate) -> pa.Table:
    """Vectors of the examined groups' candidates, all of RANKER_FEATURES: `group`, `y`, then a column per feature."""
    part = candidate.data.where(scored(candidate.data, candidate.scores))
    return pa.table({"group": part.group, "y": part.y, **part.columns()})


def _draw(folder: Path, candidate: RankerCandidate) -> None:
    x = candidate.ranker.columns(candidate.data.x)
    draw_ranker(folder, candidate.booster, x, candidate.findings, candidate.judged_by)


def _params(candidate: RankerCandidate) -> dict[str, Any]:
    return {
        **candidate.ranker.parameters(),
        **set_params(candidate.data.description()),
        "n_rounds": N_ROUNDS,
        "share_of_unopened": SHARE_OF_UNOPENED,
        "n_features": len(candidate.ranker.features),
        "snapshot_days": ",".join(map(str, SNAPSHOT_DAYS)),
        "evaluated_days": ",".join(map(str, EVALUATED_DAYS)),
        "fitted_on": "all groups of the set; the metrics are of people held out of it, see judged_by",
    }


def _signature(ranker: Ranker) -> ModelSignature:
    inputs = Schema([ColSpec("float", name) for name in ranker.features])
    return ModelSignature(inputs=inputs, outputs=Schema([TensorSpec(np.dtype(np.float32), (-1,))]))

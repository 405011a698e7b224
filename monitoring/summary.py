"""What a run found, in figures: the document every reader of a report gets, person or program. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from firstmile.clock import iso
from firstmile.names import RUNGS
from monitoring.decisions import DecisionLog
from monitoring.drift import METHOD, ColumnDrift, ModelDrift
from monitoring.noise import FLOOR, QUANTILE
from monitoring.reference import is_prediction

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}

Document = dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """One champion's decisions against its training set.

    n_current, n_users
        Decisions of this version, and of how many users.
    """

    version: str
    n_current: int
    n_users: int
    n_reference: int
    drift: ModelDrift


def summarize(
    log: DecisionLog, compared: Mapping[str, Compared], skipped: Mapping[str, str], *, made_us: int
) -> Document:
    """The summary of one run, ready for JSON.

    skipped
        Why a model was not compared, by model.
    """
    return {
        "made_at": iso(made_us),
        "decisions": decision_figures(log),
        "method": {
            "name": METHOD,
            "unit": "standard deviations of the training set",
            "threshold": f"the larger of {FLOOR} and what chance reaches in {1 - QUANTILE:.1%} of samples of this size",
        },
        "models": {model: model_figures(model, found) for model, found in compared.items()},
        "skipped": dict(skipped),
    }


def decision_figures(log: DecisionLog) -> Document:
    """Counts, rungs, versions and latency of all decisions, whoever answered them."""
    answers, models = log.decisions.answers, log.decisions.models
    times = answers["decided_us"]
    return {
        "n_records": log.n_records,
        "n_repeated": log.n_repeated,
        "n_unreadable": log.n_unreadable,
        "n_older_unread": log.n_unread,
        "n_decisions": len(answers),
        "n_scored": len(log.decisions.scored().answers),
        "n_users": int(answers["user_id"].nunique()),
        "first_at": iso(int(times.min())) if len(times) else None,
        "last_at": iso(int(times.max())) if len(times) else None,
        "rungs": {rung: int((answers["rung"] == rung).sum()) for rung in RUNGS},
        "n_fallback": int(answers["fallback"].sum()),
        "reasons": _counts(answers["reasons"].explode()),
        "arms": _counts(answers["arm"]),
        "flows": _counts(answers["flow"]),
        "models": {model: _counts(models[model]) for model in sorted(map(str, models.columns))},
        "latency_ms": _quantiles(answers["latency_ms"]),
        "feature_lag_ms": _quantiles(answers["feature_lag_ms"]),
    }


def model_figures(model: str, found: Compared) -> Document:
    """One model's drift in figures."""
    drift = found.drift
    return {
        "version": found.version,
        "n_current": found.n_current,
        "n_users": found.n_users,
        "n_reference": found.n_reference,
        "n_columns": len(drift.columns),
        "n_drifted": len(drift.drifted),
        "share_drifted": len(drift.drifted) / len(drift.columns),
        "drifted": [_column(c) for c in drift.drifted],
        "predictions": [_column(c) for c in drift.predictions],
        "is_prediction_drifted": any(c.is_drifted for c in drift.predictions),
        "gone": list(drift.sides.gone),
        "new": list(drift.sides.new),
        "empty": list(drift.sides.empty),
        "missing": [_column(c) for c in drift.columns if c.is_missing_shifted],
        "files": {"html": f"drift-{model}.html", "json": f"drift-{model}.json"},
    }


def _column(found: ColumnDrift) -> Document:
    return {
        "column": found.column,
        "kind": "prediction" if is_prediction(found.column) else "feature",
        "is_drifted": found.is_drifted,
        "score": found.score,
        "threshold": found.threshold,
        "mean_reference": found.mean_reference,
        "mean_current": found.mean_current,
        "missing_reference": found.missing_reference,
        "missing_current": found.missing_current,
    }


def _counts(values: pd.Series) -> dict[str, int]:
    """How often each value occurs, the most frequent first; missing ones are not counted."""
    return {str(value): int(n) for value, n in values.dropna().value_counts().items()}


def _quantiles(values: pd.Series) -> dict[str, float | None]:
    known = values.dropna()
    return {name: float(known.quantile(q)) if len(known) else None for name, q in QUANTILES.items()}

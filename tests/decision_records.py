"""Records of the decision log, with defaults."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from firstmile.clock import to_datetime

NOON_US = 1_795_435_200_000_000  # 2026-11-23 12:00 UTC


def decision_record(
    *,
    request_id: str | None = None,
    user_id: str | None = None,
    rung: str = "model",
    features: Mapping[str, float | None] | None = None,
    predictions: Mapping[str, float] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """One record of personalization.decisions; by default a user of its own, answered by activation version 1."""
    return {
        "request_id": request_id or uuid.uuid4().hex,
        "user_id": user_id or uuid.uuid4().hex,
        "anonymous_id": None,
        "decided_at": to_datetime(NOON_US),
        "worker": "w",
        "sequence": 0,
        "rung": rung,
        "fallback": False,
        "reasons": [],
        "experiment": None,
        "arm": "champion",
        "segment": {"skill_level": "beginner"},
        "predictions": dict({"activation": 0.5} if predictions is None else predictions),
        "features": dict({"n_pages": 1.0} if features is None else features),
        "models": {"activation": "1"},
        "flow": "guided",
        "ranking": ["c1"],
        "row_version_us": None,
        "feature_lag_ms": None,
        "stage_ms": {},
        "latency_ms": 2.0,
        **others,
    }


def decision_records(features: Mapping[str, Sequence[float]], predictions: Sequence[float], **others: Any) -> list[Any]:
    """A record per prediction, with the features at the same place."""
    vectors = [dict(zip(features, row, strict=True)) for row in zip(*features.values(), strict=True)]
    return [
        decision_record(features=vector, predictions={"activation": p}, **others)
        for vector, p in zip(vectors, map(float, predictions), strict=True)
    ]

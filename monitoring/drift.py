"""One model's drift: its decisions against what it was trained on, by Evidently's report.

The score is Evidently's normed Wasserstein distance: how many standard deviations of the reference the values moved.
Not KL divergence: on 1,000 decisions KL at its default threshold of 0.1 misses click counts that tripled (0.05), and
on 20 it calls unchanged predictions drifted (0.9): a long tail is one bin to it, and empty bins are filled with 0.0001.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pandas as pd

from firstmile.errors import DataError
from monitoring.decisions import DecisionFrames
from monitoring.noise import drift_threshold
from monitoring.reference import PREDICTION, is_prediction

METHOD: Final = "wasserstein"
MISSING_SHIFT: Final = 0.1
"""Difference of the shares of missing values worth naming; the score looks at values alone."""


@dataclass(frozen=True)
class ColumnDrift:
    """One column that has values on both sides.

    score, threshold
        Standard deviations of the reference, >= 0.
    """

    column: str
    score: float
    threshold: float
    mean_reference: float
    mean_current: float
    missing_reference: float
    missing_current: float

    @property
    def is_drifted(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold

    @property
    def is_missing_shifted(self) -> bool:
        """Whether values are missing clearly more, or less, often than in training."""
        return abs(self.missing_current - self.missing_reference) >= MISSING_SHIFT


@dataclass(frozen=True)
class Sides:
    """What can be compared, in the reference's order of columns, and what cannot.

    gone
        Has values in training, none in the decisions.
    new
        None in training, some in the decisions.
    empty
        None on either side.
    """

    reference: pd.DataFrame
    current: pd.DataFrame
    gone: tuple[str, ...]
    new: tuple[str, ...]
    empty: tuple[str, ...]


@dataclass(frozen=True)
class ModelDrift:
    """What one model's report says, and the report in Evidently's two forms."""

    columns: tuple[ColumnDrift, ...]
    sides: Sides
    html: str
    json: bytes

    @property
    def drifted(self) -> list[ColumnDrift]:
        """Features and predictions that drifted, the furthest over its threshold first."""
        return sorted((c for c in self.columns if c.is_drifted), key=lambda c: -c.score / c.threshold)

    @property
    def predictions(self) -> list[ColumnDrift]:
        """The model's answers, drifted or not."""
        return [c for c in self.columns if is_prediction(c.column)]


def model_columns(decisions: DecisionFrames, model: str) -> pd.DataFrame:
    """Vectors and one model's answers, named as in its training set: `activation` -> `prediction`,
    `skill_level:beginner` -> `prediction:beginner`."""
    answers = [str(c) for c in decisions.predictions.columns]
    named = {c: PREDICTION + c.removeprefix(model) for c in answers if c.partition(":")[0] == model}
    return pd.concat([decisions.features, decisions.predictions[list(named)].rename(columns=named)], axis=1)


def align(reference: pd.DataFrame, current: pd.DataFrame) -> Sides:
    """Both sides with the columns that have values on both. Columns training did not know are no input: left out.

    Raises DataError when there is no such column.
    """
    left, right = (_finite(frame.reindex(columns=reference.columns)) for frame in (reference, current))
    has_left, has_right = left.notna().any(), right.notna().any()
    both = list(reference.columns[has_left & has_right])
    if not both:
        raise DataError(
            f"no column of the training set ({', '.join(reference.columns[:3])} …) has a value in the decisions: the "
            "model was trained on other features than the decisions log"
        )
    gone, new, empty = (
        tuple(reference.columns[m]) for m in (has_left & ~has_right, ~has_left & has_right, ~has_left & ~has_right)
    )
    return Sides(left[both], right[both], gone, new, empty)


def compare(reference: pd.DataFrame, current: pd.DataFrame, *, n_independent: int) -> ModelDrift:
    """Drift of every column that can be compared.

    reference, current
        Numbers; NaN is missing. Columns of the training set; current may lack some.
    n_independent
        How many of current count as independent: its users, since one user's decisions resemble each other.

    Raises DataError when no column can be compared.
    """
    sides = align(reference, current)
    thresholds = {}
    for name in sides.reference.columns:
        values = sides.reference[name].dropna().to_numpy(np.float64)
        n_current = min(n_independent, int(sides.current[name].notna().sum()))
        thresholds[name] = drift_threshold(values, n_current=n_current)
    html, document = _evidently(sides, thresholds)
    scores = _scores(document, list(thresholds))
    return ModelDrift(tuple(_column(sides, n, scores[n], thresholds[n]) for n in thresholds), sides, html, document)


def _column(sides: Sides, name: str, score: float, threshold: float) -> ColumnDrift:
    left, right = sides.reference[name], sides.current[name]
    shares = float(left.isna().mean()), float(right.isna().mean())
    return ColumnDrift(name, score, threshold, float(left.mean()), float(right.mean()), *shares)


def _finite(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(np.float64).replace([np.inf, -np.inf], np.nan).reset_index(drop=True)


def _evidently(sides: Sides, thresholds: Mapping[str, float]) -> tuple[str, bytes]:
    """The report as HTML and JSON."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently's telemetry is told so by the environment alone
    names = list(thresholds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy and litestar, about Evidently's own imports
        warnings.simplefilter("ignore", RuntimeWarning)  # correlations of constant columns, in plots alone
        from evidently import DataDefinition, Dataset, Report  # 5 s and more, so not before it is needed
        from evidently.presets import DataDriftPreset

        definition = DataDefinition(numerical_columns=names)
        snapshot = Report([DataDriftPreset(columns=names, method=METHOD, per_column_threshold=dict(thresholds))]).run(
            Dataset.from_pandas(sides.current, data_definition=definition),
            Dataset.from_pandas(sides.reference, data_definition=definition),
        )
        return snapshot.get_html_str(as_iframe=False), snapshot.json().encode()


def _scores(document: bytes, names: Sequence[str]) -> dict[str, float]:
    """Score by column out of the report's JSON."""
    metrics: list[dict[str, Any]] = orjson.loads(document)["metrics"]
    found = {m["config"]["column"]: float(m["value"]) for m in metrics if m["config"].get("column") in set(names)}
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"Evidently's report says nothing of {', '.join(missing)}; is its version between 0.7.23 and 0.8?"
        )
    return found

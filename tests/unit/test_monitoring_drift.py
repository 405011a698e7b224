"""Drift by Evidently: found where planted, not where equal, and unbroken by columns without content."""

import numpy as np
import orjson
import pandas as pd
import pytest
from decision_records import decision_record
from scipy.stats import wasserstein_distance

from firstmile.errors import DataError
from monitoring.decisions import frames
from monitoring.drift import ModelDrift, align, compare, model_columns

MOVED = ("moved", "prediction")
EMPTY = ("void", "gone", "new")


def side(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Six ordinary columns of one population, three of another kind, one answer."""
    columns = {f"equal_{i}": rng.poisson(3.0, n).astype(float) for i in range(6)}
    columns |= {"moved": rng.lognormal(2, 1, n), "constant": np.zeros(n), "stepped": np.full(n, 5.0)}
    columns |= {"holes": np.where(rng.random(n) < 0.05, np.nan, rng.normal(size=n))}
    columns |= {"void": np.full(n, np.nan), "gone": rng.normal(size=n), "new": np.full(n, np.nan)}
    return pd.DataFrame({**columns, "prediction": rng.beta(2, 3, n)})


@pytest.fixture(scope="module")
def sides() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    reference, current = side(rng, 2_000), side(rng, 300)
    current["moved"] *= 3
    current["prediction"] = np.sqrt(current["prediction"])
    current["stepped"] = 6.0
    current.loc[:149, "holes"] = np.nan
    current["gone"] = np.nan
    current.loc[5, "equal_0"] = np.inf
    return reference, current.assign(new=1.0, unheard_of=1.0)


@pytest.fixture(scope="module")
def drift(sides: tuple[pd.DataFrame, pd.DataFrame]) -> ModelDrift:
    return compare(*sides, n_independent=300)


def test_drift_is_found_where_it_was_planted_and_nowhere_else(drift: ModelDrift) -> None:
    assert {c.column for c in drift.drifted} == {"moved", "prediction", "stepped"}
    assert [c.column for c in drift.predictions if c.is_drifted] == ["prediction"]
    assert drift.drifted[0].column == "stepped"  # the furthest over its threshold


def test_the_figures_are_those_of_the_data(drift: ModelDrift, sides: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    reference, current = sides
    moved = next(c for c in drift.columns if c.column == "moved")
    distance = wasserstein_distance(reference["moved"], current["moved"]) / reference["moved"].std(ddof=0)
    assert moved.score == pytest.approx(distance)
    assert moved.mean_reference == pytest.approx(reference["moved"].mean())
    assert moved.mean_current == pytest.approx(current["moved"].mean())
    holes = next(c for c in drift.columns if c.column == "holes")
    assert not holes.is_drifted
    assert holes.is_missing_shifted
    assert holes.missing_current == pytest.approx(current["holes"].isna().mean())


def test_columns_without_values_are_named_and_left_out_of_the_report(drift: ModelDrift) -> None:
    assert (drift.sides.gone, drift.sides.new, drift.sides.empty) == (("gone",), ("new",), ("void",))
    assert not {c.column for c in drift.columns} & {*EMPTY, "unheard_of"}
    assert "unheard_of" not in drift.html


def test_evidently_counts_the_same_drifted_columns_by_the_same_thresholds(drift: ModelDrift) -> None:
    metrics = orjson.loads(drift.json)["metrics"]
    assert metrics[0]["value"] == {"count": len(drift.drifted), "share": pytest.approx(3 / len(drift.columns))}
    used = {m["config"]["column"]: m["config"]["threshold"] for m in metrics if "column" in m["config"]}
    assert used == {c.column: pytest.approx(c.threshold) for c in drift.columns}
    assert "<html" in drift.html


def test_a_models_answers_are_named_as_in_its_training_set() -> None:
    predictions = {"activation": 0.5, "skill_level:beginner": 0.2, "skill_level:advanced": 0.8}
    found = frames([decision_record(features={"n_pages": 3.0}, predictions=predictions)])
    assert list(model_columns(found, "activation").columns) == ["n_pages", "prediction"]
    assert model_columns(found, "skill_level").iloc[0].to_dict() == {
        "n_pages": 3.0,
        "prediction:beginner": 0.2,
        "prediction:advanced": 0.8,
    }


def test_sides_that_share_no_column_are_refused() -> None:
    with pytest.raises(DataError, match=r"no column of the training set \(a …\) has a value"):
        align(pd.DataFrame({"a": [1.0]}), pd.DataFrame({"b": [1.0]}))

"""One user with values nobody can have leaves the sets, counted; many of them are left for the gate to refuse."""

import numpy as np
import pytest
from quality_builder import training_set

from firstmile.setting_sections import TrainingSettings
from training.quality_bounds import product_bounds, read_bounds
from training.quality_odd import plausible

BOUNDS = product_bounds(read_bounds(TrainingSettings().quality), {})
AGE = "onboarding_age_days"


def with_age(users: range, age_days: float, n_users: int = 100):  # type: ignore[no-untyped-def]
    data = training_set(n_users=n_users)
    odd = data.users["person"].isin(list(users)).to_numpy()
    data.rows.x[odd & (data.users["day"] == data.users["day"].max()), data.features.index(AGE)] = age_days
    return data


@pytest.mark.parametrize("age_days", [20_767.0, -3.0])
def test_one_odd_user_leaves_with_all_rows_and_is_counted(age_days: float) -> None:
    data = with_age(range(3, 4), age_days)
    found = plausible({"activation": data}, None, BOUNDS, ranker="r")
    kept = found.sets["activation"]
    assert sorted(set(data.users["user_id"]) - set(kept.users["user_id"])) == ["AAA_2013J-3"]
    assert len(kept.rows.x) == len(kept.users) == len(data.users) - 2
    assert (found.n_left_out, found.features) == ({"activation": 1}, [AGE])
    assert found.text() == f"users left out with impossible values of {AGE}: 1 of activation"


def test_many_odd_users_stay_for_the_gate_to_refuse() -> None:
    data = with_age(range(9), 20_767.0)
    found = plausible({"activation": data}, None, BOUNDS, ranker="r")
    assert found.sets["activation"] is data
    assert (found.n_left_out, found.text()) == ({}, "")


def test_what_is_missing_is_not_odd() -> None:
    data = with_age(range(3), np.nan)
    assert plausible({"activation": data}, None, BOUNDS, ranker="r").sets["activation"] is data

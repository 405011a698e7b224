"""Reweighing makes group and label independent, and changes nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstmile.errors import UsageError
from training.reweigh import check_attribute, effect, factors
from training.tasks import TASKS

ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.floats(0.1, 10)), min_size=1, max_size=60)


@given(ROWS)
def test_in_the_result_the_label_does_not_depend_on_the_group(rows: list[tuple[str, int, float]]) -> None:
    group, y, weight = (np.array(each) for each in zip(*rows, strict=True))
    after = weight * factors(group, y, weight)
    for g in set(group):
        assert after[group == g].sum() <= weight[group == g].sum() * (1 + 1e-9)
        for k in set(y[group == g]):
            expected = weight[group == g].sum() * weight[y == k].sum() / weight.sum()
            assert after[(group == g) & (y == k)].sum() == pytest.approx(expected)


def test_where_they_are_independent_already_weights_stay() -> None:
    group, y = np.array(list("aabb")), np.array([0, 1, 0, 1])
    assert factors(group, y, np.ones(4)).tolist() == [1, 1, 1, 1]


def test_the_effect_names_gaps_of_the_attribute_alone_beside_what_they_cost() -> None:
    def figures(gap: float, auc: float) -> dict[int, dict[str, float]]:
        one = {"gap_tpr_gender": gap, "gap_tpr_region": 0.5, "auc": auc, "log_loss": 0.3, "ece": 0.02}
        return dict.fromkeys((7, 14, 28), one)

    found = effect(TASKS["disengagement"].evaluated_days, "gender", figures(0.2, 0.8), figures(0.1, 0.7))
    assert list(found) == ["gap_tpr_gender", "auc", "log_loss", "ece"]
    assert found["gap_tpr_gender"] == pytest.approx({"before": 0.2, "after": 0.1})
    assert found["auc"] == pytest.approx({"before": 0.8, "after": 0.7})


def test_an_attribute_nobody_audits_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"shoe_size.*gender"):
        check_attribute("shoe_size")

"""Decision records as frames: columns by name, scored ones, versions, and what is refused."""

import numpy as np
import pytest
from decision_records import NOON_US, decision_record

from firstmile.errors import DataError
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from monitoring.decisions import DecisionLog, frames, join, log_of, refuse_audit, refuse_audit_names, require


def test_records_become_columns_by_name_and_what_is_not_known_is_missing() -> None:
    found = frames(
        [
            decision_record(features={"a": 1.0, "b": None}, predictions={"activation": 0.25}),
            decision_record(features={}, predictions={"skill_level:beginner": 0.75}, models={"skill_level": "4"}),
        ]
    )
    assert found.features["a"].tolist()[0] == 1.0
    assert found.features.isna().to_numpy().tolist() == [[False, True], [True, True]]
    assert found.predictions["skill_level:beginner"].tolist()[1] == 0.75
    assert found.answers["decided_us"].tolist() == [NOON_US, NOON_US]
    assert found.of_version("skill_level", "4").answers.index.tolist() == [1]
    assert len(found.of_version("skill_level", "5").answers) == 0
    assert len(found.of_version("nobody", "4").answers) == 0


def test_only_answers_with_their_own_vector_are_scored() -> None:
    rungs = ["model", "partial", "cached", "rules", "default"]
    found = frames([decision_record(rung=rung) for rung in rungs]).scored()
    assert found.answers["rung"].tolist() == ["model", "partial"]
    assert len(found.features) == len(found.predictions) == len(found.models) == 2


def test_parts_are_joined_in_order_also_when_their_columns_differ() -> None:
    found = join(
        [
            frames([decision_record(rung="rules", features={}, predictions={}, models={})]),
            frames([]),
            frames([decision_record(features={"a": 2.0})]),
        ]
    )
    assert found.answers["rung"].tolist() == ["rules", "model"]
    np.testing.assert_array_equal(found.features["a"], [np.nan, 2.0])
    assert found.scored().models["activation"].tolist() == ["1"]
    assert len(join([frames([])]).scored().answers) == 0


def test_too_few_scored_decisions_are_refused_with_the_count_and_the_remedy() -> None:
    records = [decision_record() for _ in range(3)] + [decision_record(rung="rules") for _ in range(40)]
    found = DecisionLog(frames(records))
    assert len(require(found, at_least=3).answers) == 3
    with pytest.raises(
        DataError, match=r"has 3 decisions answered by models, 20 are needed .*40 rules.*firstmile decide"
    ):
        require(found, at_least=20)
    with pytest.raises(DataError, match=r"has 0 decisions .*of 0 decisions in all\)"):
        require(DecisionLog(frames([])), at_least=20)


@pytest.mark.parametrize("attribute", AUDIT_ATTRIBUTES)
@pytest.mark.parametrize("form", ["{}", "user_audit__{}", "{}_M", "{}:F"])
def test_an_audit_attribute_among_the_features_is_refused(attribute: str, form: str) -> None:
    name = form.format(attribute)
    with pytest.raises(DataError, match=f"personalization.decisions.* holds audit attributes: {name}"):
        refuse_audit(frames([decision_record(features={"n_pages": 1.0, name: 1.0})]))


def test_an_audit_attribute_in_any_one_record_is_refused_and_our_own_features_are_not() -> None:
    from feature_repo.services import model_features

    refuse_audit_names([*model_features("skill_level"), "engendered", "regional_n"], where="here")
    parts = [frames([decision_record() for _ in range(5)]), frames([decision_record(features={"region": None})])]
    with pytest.raises(DataError, match="region"):
        log_of(parts)


def test_a_request_counts_once_however_often_it_was_recorded() -> None:
    first = decision_record(request_id="r", latency_ms=1.0)
    again = [decision_record(request_id="r", latency_ms=2.0), decision_record(request_id="s")]
    found = log_of([frames([first]), frames(again)], n_records=3)
    assert found.decisions.answers["latency_ms"].tolist() == [1.0, 2.0]
    assert found.decisions.answers["request_id"].tolist() == ["r", "s"]
    assert len(found.decisions.features) == 2
    assert (found.n_records, found.n_repeated) == (3, 1)


def test_a_record_of_another_schema_is_refused_by_name() -> None:
    record = decision_record()
    del record["rung"]
    with pytest.raises(DataError, match="no field 'rung'"):
        frames([record])

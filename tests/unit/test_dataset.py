"""Sets from hand-made labels and vectors; the offline store has a test of its own."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from examples.oulad.learning.history import choose, refuse_future
from examples.oulad.tables.tables import day_end_us, day_start_us
from feature_repo.services import model_features
from firstmile.errors import DataError
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from training.dataset import TrainingSet, check_columns, snapshots, training_set
from training.labelled import Labelled

P = "AAA_2013J"


def labelled(*rows: tuple[int, int, int]) -> Labelled:
    """Rows of (person, day, label)."""
    frame = pd.DataFrame(rows, columns=["person", "day", "label"])
    frame["user_id"] = [f"{P}-{s}" for s in frame["person"]]
    known = frame.assign(cohort=P, judged_label=frame["label"], until_day=frame["day"] + 14)
    known["now_us"] = [day_end_us(P, day) for day in known["day"]]
    return Labelled(known, {7: Counter(rows=len(rows))})


def vectors(made: Labelled) -> pd.DataFrame:
    entities = snapshots([made])
    index = pd.MultiIndex.from_frame(entities[["user_id", "now_us"]])
    return pd.DataFrame({"a": np.arange(len(index), dtype=float), "b": np.nan}, index=index)


def build(*rows: tuple[int, int, int]) -> TrainingSet:
    return training_set("activation", labelled(*rows), vectors(labelled(*rows)))


def test_a_snapshot_is_taken_at_the_last_microsecond_of_its_day() -> None:
    entities = snapshots([labelled((1, 7, 0))])
    assert entities["now_us"].tolist() == [day_end_us(P, 7)] == [day_start_us(P, 8) - 1]
    assert entities["event_timestamp"][0] == pd.Timestamp("2013-10-08 23:59:59.999999", tz="UTC")


def test_models_share_a_snapshot_of_the_same_user_and_day() -> None:
    assert len(snapshots([labelled((1, 7, 0), (1, 14, 0)), labelled((1, 7, 1), (2, 7, 1))])) == 3


def test_every_user_weighs_one_however_often_seen() -> None:
    data = build((1, 3, 0), (1, 7, 0), (1, 14, 1), (2, 7, 1))
    weights = pd.Series(data.rows.weight).groupby(data.users["user_id"]).sum()
    assert weights.tolist() == pytest.approx([1.0, 1.0])


def test_vectors_meet_their_own_label_in_any_order() -> None:
    made = labelled((1, 3, 0), (1, 7, 0), (2, 7, 1))
    shuffled = vectors(made).iloc[[2, 0, 1]]
    data = training_set("activation", made, shuffled)
    assert data.rows.x[:, 0].tolist() == [0.0, 1.0, 2.0]
    assert data.rows.y.tolist() == [0, 0, 1]


def test_a_user_without_a_row_by_then_is_left_out_and_counted() -> None:
    made = labelled((1, 7, 0), (2, 7, 1))
    data = training_set("activation", made, vectors(labelled((2, 7, 1))))
    assert data.users["person"].tolist() == [2]
    assert data.counts[7] == {"rows": 2, "left_out:no row in the history": 1}


def test_the_description_changes_with_any_label_or_feature() -> None:
    first, other_label = build((1, 3, 0), (2, 7, 1)), build((1, 3, 1), (2, 7, 1))
    moved = replace(first, rows=replace(first.rows, x=first.rows.x + np.eye(2)))
    assert first.description() == build((1, 3, 0), (2, 7, 1)).description()
    assert len({data.description()["sha256"] for data in (first, other_label, moved)}) == 3
    assert (first.description()["n_rows"], first.description()["n_users"]) == (2, 2)


def test_trained_until_is_the_last_instant_a_label_looked_at() -> None:
    assert build((1, 3, 0), (2, 7, 1)).trained_until_us() == day_end_us(P, 21)


def test_an_empty_set_is_refused() -> None:
    made = labelled((1, 3, 0))
    with pytest.raises(DataError, match="nobody is left to learn activation from"):
        training_set("activation", Labelled(made.rows.iloc[:0], made.counts), vectors(made))


@pytest.mark.parametrize("attribute", AUDIT_ATTRIBUTES)
@pytest.mark.parametrize("prefix", ["", "user_audit__"])
def test_an_audit_attribute_cannot_enter(attribute: str, prefix: str) -> None:
    features = model_features("activation")
    with pytest.raises(DataError, match="audit attributes are not model inputs"):
        check_columns([*features, prefix + attribute], features)
    with pytest.raises(DataError, match="audit attributes are not model inputs"):
        check_columns([*features, prefix + attribute], [*features, prefix + attribute])


def test_a_missing_or_unexpected_column_is_named() -> None:
    features = model_features("activation")
    check_columns(features, features)
    with pytest.raises(DataError, match=f"missing \\['{features[0]}'\\], not expected \\['surprise'\\]"):
        check_columns([*features[1:], "surprise"], features)


def test_all_of_the_history_is_chosen_unless_told() -> None:
    ends = {P: day_start_us(P, 40), "BBB_2013B": day_start_us("BBB_2013B", 40)}
    assert choose(ends, None, last_day=28) == [P, "BBB_2013B"]
    assert choose(ends, [P], last_day=28) == [P]


def test_a_cohort_without_history_is_named_with_the_command_that_repairs_it() -> None:
    with pytest.raises(DataError, match=r"no AAA_2014J; it has AAA_2013J.*backfill oulad .*--presentations AAA_2014J"):
        choose({P: day_start_us(P, 40)}, ["AAA_2014J"], last_day=28)


def test_history_that_stops_before_the_last_snapshot_is_refused() -> None:
    with pytest.raises(DataError, match="before day 28"):
        choose({P: day_start_us(P, 28) - 1}, None, last_day=28)


@pytest.mark.parametrize(("end_us", "is_refused"), [(day_start_us(P, 21), False), (day_start_us(P, 21) - 1, True)])
def test_a_label_that_needs_the_future_is_refused_until_it_has_happened(end_us: int, is_refused: bool) -> None:
    made = {"disengagement": labelled((1, 3, 0), (2, 7, 1))}
    if not is_refused:
        refuse_future(made, {P: end_us})
        return
    with pytest.raises(
        DataError, match=r"labels of disengagement look as far as day 21 of AAA_2013J.*ends at 2013-10-21"
    ):
        refuse_future(made, {P: end_us})
    refuse_future(made, {P: end_us}, complete=[P])  # all of it is there: idle, not unseen

"""The search for parameters: who teaches and who is asked, what it may not see, and that it ends no worse."""

from dataclasses import replace

import numpy as np
import pytest
from learners import FEATURES, data, rows

from firstmile.errors import DataError
from training.models import Fitter
from training.search import DEPTHS, SEARCHED, SPACE, SPACE_NAMES, Found, loss, search, splits_of, was_searched
from training.tasks import TASKS

FITTER = Fitter("activation", FEATURES, seed=7)


def test_the_start_that_gates_examine_is_neither_learned_from_nor_asked() -> None:
    of = rows("AAA_2013J", "BBB_2013B", "AAA_2014J")
    splits = splits_of(of, seed=7)
    assert len(splits) == 3
    for split in splits:
        assert not (of.cohort[split.train | split.test] == "AAA_2014J").any()
        assert not set(of.person[split.train]) & set(of.person[split.test])
    assert set(of.cohort[splits[0].train]) == {"AAA_2013J", "BBB_2013B"}


def test_with_three_starts_of_one_course_the_second_is_asked_about_what_the_first_taught() -> None:
    of = rows("AAA_2013B", "AAA_2013J", "AAA_2014J")
    (split,) = splits_of(of, seed=7)
    assert set(of.cohort[split.train]) == {"AAA_2013B"}
    assert set(of.cohort[split.test]) == {"AAA_2013J"}


def test_without_a_later_start_of_a_course_students_are_held_out_of_all() -> None:
    of = rows("BBB_2013B", "AAA_2013J")
    splits = splits_of(of, seed=7)
    assert len(splits) == 3
    assert all(set(of.cohort[s.test]) == {"BBB_2013B", "AAA_2013J"} for s in splits)


def test_students_of_both_starts_teach_nothing_about_themselves() -> None:
    of = rows("AAA_2013B", "AAA_2013J", "AAA_2014J")
    again = np.isin(of.person, np.arange(40, 50))  # ten of the second start had been in the first
    of = replace(of, person=np.where(again, of.person - 40, of.person))
    (split,) = splits_of(of, seed=7)
    assert (split.train.sum(), split.test.sum()) == (60, 80)
    assert not set(of.person[split.train]) & set(of.person[split.test])


def test_the_search_keeps_what_did_best_and_the_recipe_is_the_first_to_try() -> None:
    of = rows("BBB_2013B", n=120)
    # Next to nothing is learned so: whatever else is tried is better.
    bad = replace(FITTER, changes=(("min_child_weight", 30.0), ("reg_lambda", 50.0), ("colsample_bytree", 0.05)))
    found = search(data(of), bad, n_trials=8, threads=2)
    losses = [trial["log_loss"] for trial in found.trials]
    assert len(losses) == 8
    said = found.document()
    assert found.trials[0] == {**{n: bad.parameters()[n] for n in SPACE_NAMES}, "log_loss": losses[0]}
    assert said["log_loss_found"] == min(losses) < losses[0] == said["log_loss_recipe"]
    best = found.trials[int(np.argmin(losses))]
    assert {n: found.fitter.parameters()[n] for n in SPACE_NAMES} == {n: best[n] for n in SPACE_NAMES}
    assert np.mean([loss(found.fitter, of, s) for s in splits_of(of, seed=7)]) == pytest.approx(min(losses))
    for trial in found.trials[1:]:
        assert all(span.low <= trial[name] <= span.high for name, span in SPACE.items())
        assert DEPTHS[0] <= trial["max_depth"] <= DEPTHS[1]


def test_the_same_set_and_seed_find_the_same() -> None:
    of = data(rows("BBB_2013B", n=60))
    assert search(of, FITTER, n_trials=4, threads=2) == search(of, FITTER, n_trials=4, threads=1)


def test_the_recipe_stays_where_nothing_did_better() -> None:
    found = search(data(rows("BBB_2013B", n=60)), FITTER, n_trials=1, threads=1)
    assert found.fitter == FITTER
    assert found.document()["parameters"] == {}


def test_every_recipe_lies_in_the_space_it_is_searched_in() -> None:
    for model in TASKS:
        recipe = Fitter(model, FEATURES, seed=7).parameters()
        assert all(span.low <= recipe[name] <= span.high for name, span in SPACE.items())
        assert DEPTHS[0] <= recipe["max_depth"] <= DEPTHS[1]


def test_parameters_come_back_from_what_a_run_logged() -> None:
    for model in TASKS:
        plain = Fitter(model, FEATURES, seed=7)
        fitter = replace(plain, changes=(("learning_rate", 0.031), ("min_child_weight", 0.4), ("max_depth", 4)))
        logged = {name: str(value) for name, value in fitter.parameters().items()}
        assert plain.with_parameters(logged).parameters() == fitter.parameters()
        assert plain.with_parameters({n: str(v) for n, v in plain.parameters().items()}) == plain
        assert plain.with_parameters({}) == plain
    assert was_searched({"parameters": SEARCHED})
    assert not was_searched({})
    assert Found(FITTER, [{"log_loss": 0.5}]).params()["search.n_trials"] == 1


def test_with_nobody_to_judge_by_there_is_no_search() -> None:
    with pytest.raises(DataError, match="without --search"):
        search(data(rows("BBB_2013B", n=1)), FITTER, n_trials=2, threads=1)

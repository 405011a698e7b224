"""Signals to retrain: whole or not there, put away with what came of them; cron expressions that nobody can read."""

import os
import threading
from pathlib import Path

import orjson
import pytest
from demo_product import with_file

from firstmile.errors import ConflictError, SettingsError, UsageError
from firstmile.settings import Settings
from training.alone import alone
from training.child import environment
from training.retrain_watch import Watch
from training.signals import FOLDER, MAX_TRIES, Signal, Waits, taken, waiting
from training.train import check_labels, run


def test_signals_wait_in_order_and_are_put_away_with_their_outcome(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    first, second = (tmp_path / FOLDER / name for name in ("drift-preference-2.json", "bias.json"))
    second.write_text('{"because": "bias", "reweigh": "gender"}')
    first.write_text('{"because": "drift", "models": ["activation"]}')
    os.utime(first, (1, 1))  # by age, whatever their names say
    assert [signal for _, signal in waiting(tmp_path)] == [
        Signal(because="drift", models=("activation",)),
        Signal(because="bias", reweigh="gender"),
    ]
    taken(first, {"exit": 0})
    assert [signal.because for _, signal in waiting(tmp_path) if isinstance(signal, Signal)] == ["bias"]
    assert orjson.loads((tmp_path / FOLDER / "done" / f"{first.stem}.outcome.json").read_bytes()) == {"exit": 0}


def test_a_file_that_is_no_signal_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    for name, text in (("1.json", "{"), ("2.json", '{"because": "x", "who": 1}'), ("3.json", '{"because": ""}')):
        (tmp_path / FOLDER / name).write_text(text)
    said = [signal for _, signal in waiting(tmp_path)]
    assert [str(each).partition(":")[0] for each in said] == ["the file", "who", "because"]


def test_a_signal_half_written_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "1.part").write_text("{")
    assert waiting(tmp_path) == []


def test_a_signal_in_words_is_what_the_verb_reads() -> None:
    assert Signal(because="bias", models=("activation", "preference"), reweigh="gender").words() == [
        *("--because", "bias", "--model", "activation,preference", "--reweigh", "gender")
    ]


def test_a_cron_expression_nobody_can_read_names_setting_and_form(tmp_path: Path) -> None:
    training = {"retrain_cron": "weekly"}
    watch = Watch(Settings(home=tmp_path, training=training), threading.Event(), tmp_path)
    with pytest.raises(SettingsError, match=r"TRAINING__RETRAIN_CRON is 'weekly'.*five fields.*0 3 \* \* sun"):
        watch.run()


def test_a_signal_that_could_not_be_answered_waits_longer_each_time() -> None:
    waits, file = Waits(), Path("a.json")
    assert waits.is_over(file, 0)
    assert [waits.longer(file, 0) for _ in range(8)] == [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]
    assert not waits.is_over(file, 3_599_999_999)
    assert waits.is_over(file, 3_600_000_000)
    assert waits.is_over(Path("b.json"), 0)
    assert [waits.longer(file, 0) for _ in range(8, MAX_TRIES)][-2:] == [3_600, None]  # not for ever
    waits.forget(file)
    assert waits.longer(file, 0) == 60


def test_a_child_has_this_process_s_variables_and_the_settings_over_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    monkeypatch.setenv("FIRSTMILE_HOME", "/elsewhere")
    found = environment(Settings(home=Path("/home/x")))
    assert (found["MLFLOW_TRACKING_TOKEN"], found["FIRSTMILE_HOME"]) == ("t", "/home/x")


def test_one_at_a_time_and_again_when_the_first_has_ended(tmp_path: Path) -> None:
    with (
        alone(tmp_path, verb="retrain"),
        pytest.raises(ConflictError, match="`firstmile retrain` cannot begin, another process holds"),
        alone(tmp_path, verb="retrain"),
    ):
        raise AssertionError("both hold it")
    with alone(tmp_path, verb="retrain"):
        pass


def test_training_by_hand_does_not_begin_beside_a_retraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTMILE_HOME", str(tmp_path))
    with (
        alone(tmp_path / "training", verb="retrain"),
        pytest.raises(ConflictError, match="`firstmile train` cannot begin"),
    ):
        run(model="activation", n_trials=0)


def test_a_product_without_labels_is_told_and_a_growing_one_that_no_run_can_be_made_again(tmp_path: Path) -> None:
    live = with_file(Settings(home=tmp_path), tmp_path, "labels", "churn:\n  none_of: {events: any}\n  for_days: 7\n")
    check_labels(live)
    with pytest.raises(UsageError, match="--from-run is for recorded cohorts"):
        check_labels(live, "run")
    live.product_file("labels").unlink()
    with pytest.raises(UsageError, match=r"labels\.yaml is not there, so there is nothing to learn"):
        check_labels(live)

"""Monitoring on the real stack: decisions in Kafka, a champion in MLflow, one report that says what was planted."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import FreeSettings
from decision_records import decision_record, decision_records
from model_lab import Lab
from serving_builder import booster

from firstmile.broker import producer
from firstmile.clock import SystemClock
from firstmile.errors import DataError, DependencyError
from firstmile.names import DECISIONS
from firstmile.settings import Settings, as_environment
from firstmile.vocabulary import MODELS
from firstmile.wire import RecordWriter, Registry
from monitoring.decisions import read_decisions
from monitoring.reference import Champion, References
from monitoring.report import make_report

MODEL = "activation"
NAMES = ("clicks_total_count", "opens_quiz", "n_pages", "prior_attempts", "onboarding_age_days")
N_DECISIONS = 150


@dataclass(frozen=True)
class Planted:
    """A home, and the version whose decisions were logged."""

    settings: Settings
    lab: Lab
    version: str


def vectors(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {name: rng.poisson(4.0 + i, n).astype(float) for i, name in enumerate(NAMES)}


def matrix(columns: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack(list(columns.values()), axis=1)


def send(settings: Settings, records: list[Any], *raw: bytes) -> None:
    writer, out = RecordWriter(Registry(settings.registry_url), DECISIONS), producer(settings)
    for record in records:
        out.send(DECISIONS, key=record["user_id"], value=writer.encode(record))
    for value in raw:
        out.send(DECISIONS, key="nobody", value=value)
    out.flush()


@pytest.fixture(scope="module")
def planted(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    """A champion of its own, and decisions like its training set but for quizzes, opened three times as often."""
    settings = stack.model_copy(update={"home": tmp_path_factory.mktemp("monitoring")})
    rng = np.random.default_rng(5)
    lab, made, reference = Lab(settings.mlflow_uri, settings.home), booster(MODEL, NAMES), vectors(rng, 1_000)
    answers = np.asarray(made.inplace_predict(matrix(reference)), np.float64)
    version = lab.log(MODEL, made, {**reference, "prediction": answers})
    current = vectors(rng, N_DECISIONS)
    current["opens_quiz"] *= 3
    decided = [float(p) for p in made.inplace_predict(matrix(current))]
    lists = {name: values.tolist() for name, values in current.items()}
    records = decision_records(lists, decided, models={MODEL: version})
    other = [decision_record(rung="rules", models={}, features={}, predictions={}, reasons=["cold_start"])]
    send(settings, [*records, *records[:10], *other], b"no record")
    yield Planted(settings, lab, version)
    lab.withdraw(MODEL)  # it has no papers of training to be compared by


def firstmile(settings: Settings, *words: str) -> list[Any]:
    return [[Path(sys.executable).parent / "firstmile", *words], {"PATH": "/usr/bin:/bin", **as_environment(settings)}]


def run_monitor(settings: Settings) -> tuple[dict[str, Any], str]:
    command, env = firstmile(settings, "monitor", "run")
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_run_says_what_was_planted_and_a_second_makes_a_second_folder(planted: Planted) -> None:
    first, _ = run_monitor(planted.settings)
    found = first["models"][MODEL]
    assert (found["version"], found["n_current"], found["n_reference"]) == (planted.version, N_DECISIONS, 1_000)
    assert "opens_quiz" in found["drifted"]
    assert set(found["drifted"]) <= {"opens_quiz", "prediction"}
    assert set(first["models"]) | set(first["skipped"]) == set(MODELS)
    for path in (first["index"], first["summary"], found["html"], found["json"]):
        assert Path(path).stat().st_size > 500
    assert planted.settings.reports / "latest" == Path(first["latest"])
    assert Path(first["latest"]).resolve() == Path(first["folder"])

    summary = json.loads(Path(first["summary"]).read_text())
    moved = summary["models"][MODEL]["drifted"][0]
    assert moved["column"] == "opens_quiz"
    assert moved["mean_current"] / moved["mean_reference"] == pytest.approx(3, rel=0.15)
    assert moved["score"] > moved["threshold"]
    decisions = summary["decisions"]
    assert decisions["n_records"] == decisions["n_decisions"] + decisions["n_repeated"] + decisions["n_unreadable"]
    assert decisions["n_repeated"] >= 10
    assert decisions["n_unreadable"] >= 1
    assert decisions["rungs"]["rules"] >= 1
    assert decisions["models"][MODEL][planted.version] == N_DECISIONS
    assert "opens_quiz" in Path(first["index"]).read_text()

    copies = sorted((planted.settings.home / "monitoring" / "references" / MODEL).iterdir())
    before = [c.stat().st_mtime_ns for c in copies]
    second = make_report(planted.settings, SystemClock())
    assert second.folder != Path(first["folder"])
    assert Path(first["folder"]).is_dir()
    assert Path(first["latest"]).resolve() == second.folder
    assert [c.stat().st_mtime_ns for c in copies] == before  # the training set was not fetched again


def test_the_browser_shows_the_newest_report_until_sigterm(planted: Planted) -> None:
    if not (planted.settings.reports / "latest").exists():
        make_report(planted.settings, SystemClock())
    command, env = firstmile(planted.settings, "monitor", "ui")
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("ready: http://127.0.0.1:"), line
        with urllib.request.urlopen(f"{line.split()[1]}latest/", timeout=10) as answer:
            assert "opens_quiz" in answer.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_only_the_newest_decisions_are_read_when_there_are_more_than_a_run_looks_at(planted: Planted) -> None:
    everything = read_decisions(planted.settings)
    limits = planted.settings.monitoring.model_copy(update={"max_decisions": 40})
    some = read_decisions(planted.settings.model_copy(update={"monitoring": limits}))
    assert 20 <= some.n_records <= 40
    assert some.n_records + some.n_unread == everything.n_records
    assert everything.n_unread == 0


def test_too_few_decisions_are_refused_and_nothing_is_written(planted: Planted, tmp_path: Path) -> None:
    limits = planted.settings.monitoring.model_copy(update={"min_decisions": 10**9})
    settings = planted.settings.model_copy(update={"monitoring": limits, "home": tmp_path})
    with pytest.raises(DataError, match=r"has \d+ decisions answered by models, 1000000000 are needed"):
        make_report(settings, SystemClock())
    assert not settings.reports.exists()


def test_who_is_champion_and_who_is_not(planted: Planted) -> None:
    references = References(planted.settings)
    assert references.champion(f"nobody-{uuid.uuid4()}") is None
    champion = references.champion(MODEL)
    assert champion is not None
    assert champion.version == planted.version
    found = references.training_set(champion)
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == [*NAMES, "prediction"]
    planted.lab.withdraw(MODEL)
    assert references.champion(MODEL) is None
    planted.lab.promote(MODEL, planted.version)


def test_a_run_without_a_training_set_is_named(planted: Planted) -> None:
    import mlflow

    mlflow.set_tracking_uri(planted.settings.mlflow_uri)
    with mlflow.start_run() as bare:
        pass
    with pytest.raises(DataError, match=rf"{MODEL} version 99 came without training_set.parquet .*{bare.info.run_id}"):
        References(planted.settings).training_set(Champion(MODEL, "99", bare.info.run_id))


def test_without_kafka_it_says_so_within_seconds(free_settings: FreeSettings) -> None:
    started = time.monotonic()
    with pytest.raises(DependencyError, match=r"Kafka at 127\.0\.0\.1:\d+"):
        read_decisions(free_settings(kafka={"timeout_s": 1}))
    assert time.monotonic() - started < 30


def test_without_mlflow_it_says_so_and_nothing_is_written(planted: Planted, free_settings: FreeSettings) -> None:
    away = free_settings()
    settings = planted.settings.model_copy(
        update={"home": away.home, "mlflow": away.mlflow.model_copy(update={"tracking_uri": away.mlflow_uri})}
    )
    with pytest.raises(DependencyError, match=r"MLflow at http://127\.0\.0\.1:\d+ did not answer .*firstmile up"):
        make_report(settings, SystemClock())
    assert not settings.reports.exists()

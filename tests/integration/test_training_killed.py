"""Training killed by SIGKILL after each of its effects, against a real MLflow: nothing half registered, no alias lost
or ahead of its version."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from conftest import settings_on_free_ports
from killed_training import EFFECTS
from mlflow.tracking import MlflowClient

from firstmile.local.stack import Stack
from firstmile.names import CHALLENGER, CHAMPION, PREVIOUS
from firstmile.settings import Settings
from training.judge import judge_version
from training.promote import promote
from training.tracking import connect, versions
from training.versions import read_baselines_of, read_examined, read_fitted, read_set, read_version

HERE = Path(__file__).parent
MODEL = "activation"
PAPERS = {
    *("features.json", "training_set.json", "slices.json", "baselines.json", "model_card.md", "plots"),
    *("training_set.parquet", "training_users.parquet", "examined.parquet"),
}


@dataclass(frozen=True)
class Killed:
    """An MLflow of its own after the killings, and the signal that ended each process."""

    settings: Settings
    client: MlflowClient
    ended: dict[str, int]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    settings = settings_on_free_ports(tmp_path_factory.mktemp("killed"))
    stack = Stack(settings, with_parent=True)
    stack.up(["mlflow"])
    try:
        done = subprocess.run(
            [sys.executable, HERE / "killed_training.py", settings.mlflow_uri, settings.home],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield Killed(settings, connect(settings), orjson.loads(done.stdout))
    finally:
        stack.down()


def aliases(client: MlflowClient) -> dict[str, str]:
    return {name: str(version) for name, version in client.get_registered_model(MODEL).aliases.items()}


def test_every_process_was_killed_and_left_a_run_or_a_version(killed: Killed) -> None:
    assert killed.ended == dict.fromkeys((*EFFECTS, "promotion"), 9)
    experiments = [e.experiment_id for e in killed.client.search_experiments()]
    assert len(killed.client.search_runs(experiments)) == len(EFFECTS)
    # Killed after params, artifacts or model there is a run and no version.
    assert versions(killed.client, MODEL) == ["1", "2", "3"]


def test_every_version_has_all_its_papers(killed: Killed) -> None:
    for number in versions(killed.client, MODEL):
        version = read_version(killed.client, MODEL, number)
        assert {f.path for f in killed.client.list_artifacts(version.run_id)} >= PAPERS
        assert "held_out_people/day_14/auc" in version.metrics
        assert version.metrics["size_bytes"] > 0
        assert version.tags["judged_by"] == "held_out_people"
        data, (rows, p) = read_set(killed.client, version), read_examined(killed.client, version)
        assert len(p) == len(rows) == len(data.users)
        assert read_fitted(version).probabilities(data.rows.x).shape == (len(data.users), 2)
        assert set(read_baselines_of(killed.client, version).shares) == set(data.users["day"])


def test_no_alias_points_at_a_version_that_was_not_judged(killed: Killed) -> None:
    names = aliases(killed.client)
    assert names[CHALLENGER] == "3"  # killed right after it was moved, and not before
    for number in names.values():
        run_id = read_version(killed.client, MODEL, number).run_id
        assert "gates.json" in {f.path for f in killed.client.list_artifacts(run_id)}


def test_a_promotion_killed_between_its_aliases_keeps_the_champion_and_is_finished_by_the_next(killed: Killed) -> None:
    assert aliases(killed.client) == {CHALLENGER: "3", CHAMPION: "1", PREVIOUS: "1"}
    promote(killed.client, MODEL, "2", settings=killed.settings, shows=False)
    assert aliases(killed.client) == {CHALLENGER: "3", CHAMPION: "2", PREVIOUS: "1"}


def test_a_version_that_live_traffic_was_worse_with_is_refused_however_good_its_figures(killed: Killed) -> None:
    killed.client.set_model_version_tag(MODEL, "3", "experiment_verdict", "worse: activation -2.1 % [-3.9, -0.4]")
    try:
        first = judge_version(killed.client, MODEL, "3").verdicts[0]
    finally:
        killed.client.delete_model_version_tag(MODEL, "3", "experiment_verdict")
    assert (first.gate, first.passed) == ("experiment", False)
    assert "live traffic says worse: activation -2.1 %" in first.reason

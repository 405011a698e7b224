"""Promotions and rollbacks beside others, of this home and of another one, and of several models; on a real MLflow."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from killed_training import candidate
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from firstmile.errors import ConflictError, DependencyError, GateError
from firstmile.names import CHALLENGER, CHAMPION, PREVIOUS
from firstmile.settings import Settings, as_environment
from training.alone import alone
from training.entry import enter
from training.plan import PLAIN
from training.promote import promote, promote_all
from training.rollback import rollback_all
from training.tracking import connect

MODEL = "activation"
OTHER = "disengagement"


class Interrupted(MlflowClient):
    """Something happens once, right after a call: what another process or machine does just then."""

    def __init__(self, uri: str, call: str, then: Callable[[], object]) -> None:
        super().__init__(uri)
        original, is_left = getattr(self, call), [True]

        def called(*given: Any, **named: Any) -> Any:
            result = original(*given, **named)
            if is_left and is_left.pop():
                then()
            return result

        setattr(self, call, called)


@dataclass(frozen=True)
class Registry:
    """A home with an MLflow of its own: three versions of MODEL that pass the gates, the first one champion."""

    settings: Settings

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.settings.mlflow_uri)

    def interrupted(self, call: str, then: Callable[[], object]) -> MlflowClient:
        return Interrupted(self.settings.mlflow_uri, call, then)

    def aliases(self, model: str = MODEL) -> dict[str, str]:
        found = self.client.get_registered_model(model).aliases
        return {name: str(version) for name, version in found.items() if name != CHALLENGER}

    def promote(self, version: str, client: MlflowClient | None = None, wait_s: float = 60.0) -> dict[str, Any]:
        return promote(client or self.client, MODEL, version, settings=self.settings, shows=False, wait_s=wait_s)


def settings_of(home: Path) -> Settings:
    return Settings(home=home, mlflow={"tracking_uri": f"sqlite:///{home / 'mlflow.db'}"})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("promote")
    settings = settings_of(home)
    client, papers = connect(settings), candidate()
    experiment = client.create_experiment(settings.mlflow.experiment, (home / "artifacts").as_uri())
    for _ in range(3):
        enter(client, experiment, papers, PLAIN)
    promote(client, MODEL, "1", settings=settings, shows=False)
    found = client.get_model_version(MODEL, "2")
    client.create_registered_model(OTHER)
    client.create_model_version(OTHER, found.source, found.run_id, model_id=found.source.removeprefix("models:/"))
    client.set_registered_model_alias(OTHER, CHALLENGER, "1")
    client.set_model_version_tag(OTHER, "1", "experiment_verdict", "worse: [red] clicks -2.1 %")
    return home / "mlflow.db"


@pytest.fixture
def registry(template: Path, tmp_path: Path) -> Registry:
    shutil.copy(template, tmp_path)
    registry = Registry(settings_of(tmp_path))
    connect(registry.settings)  # the fluent API's too
    return registry


def test_promotions_at_once_are_one_after_the_other(registry: Registry) -> None:
    with ThreadPoolExecutor(2) as pool:
        begun, may_end = threading.Event(), threading.Event()
        judged = registry.interrupted("set_model_version_tag", lambda: (begun.set(), may_end.wait(60)))
        first = pool.submit(registry.promote, "2", judged)
        assert begun.wait(60)
        with pytest.raises(ConflictError, match=r"promote` waited 0.1 s and did nothing: .*promotion; run it again"):
            registry.promote("3", wait_s=0.1)
        second = pool.submit(registry.promote, "3")
        may_end.set()
        assert (first.result()["previous"], second.result()["previous"]) == ("1", "2")
    assert registry.aliases() == {CHAMPION: "3", PREVIOUS: "2"}


def test_rollback_waits_for_a_promotion_and_a_promotion_for_nobody_who_trains(registry: Registry) -> None:
    registry.promote("2")
    with alone(registry.settings.home / "promotion", verb="promote"), pytest.raises(ConflictError, match="rollback`"):
        rollback_all(registry.client, [MODEL], settings=registry.settings, wait_s=0.1)
    assert registry.aliases() == {CHAMPION: "2", PREVIOUS: "1"}
    with alone(registry.settings.home / "training", verb="train"):
        assert registry.promote("3", wait_s=0.1)["previous"] == "2"


def test_champion_moved_by_another_home_while_it_was_judged_is_no_longer_replaced(registry: Registry) -> None:
    elsewhere = Registry(registry.settings.model_copy(update={"home": registry.settings.home / "elsewhere"}))
    client = registry.interrupted("set_model_version_tag", lambda: elsewhere.promote("3"))
    with pytest.raises(ConflictError, match=r"moved champion from 1 to 3.*firstmile promote activation --version 2`"):
        registry.promote("2", client)
    assert registry.aliases() == {CHAMPION: "3", PREVIOUS: "1"}
    assert registry.promote("2")["previous"] == "3"


def test_first_champion_made_by_another_home_meanwhile_is_not_replaced(registry: Registry) -> None:
    registry.client.delete_registered_model_alias(MODEL, CHAMPION)
    client = registry.interrupted(
        "set_model_version_tag", lambda: registry.client.set_registered_model_alias(MODEL, CHAMPION, "2")
    )
    with pytest.raises(ConflictError, match="champion from unset to 2"):
        registry.promote("3", client)
    assert registry.aliases() == {CHAMPION: "2"}


def test_champion_moved_before_the_gates_looked_is_the_one_that_is_kept_as_previous(registry: Registry) -> None:
    client = registry.interrupted(
        "get_registered_model", lambda: registry.client.set_registered_model_alias(MODEL, CHAMPION, "3")
    )
    said = registry.promote("2", client)
    assert said["against"] == said["previous"] == "3"
    assert registry.aliases() == {CHAMPION: "2", PREVIOUS: "3"}


def test_rollback_leaves_what_another_home_moved_meanwhile(registry: Registry) -> None:
    registry.promote("2")
    client = registry.interrupted(
        "get_registered_model", lambda: registry.client.set_registered_model_alias(MODEL, CHAMPION, "3")
    )
    with pytest.raises(ConflictError, match=r"champion from 2 to 3 .*`firstmile rollback activation` again"):
        rollback_all(client, [MODEL], settings=registry.settings)
    assert registry.aliases() == {CHAMPION: "3", PREVIOUS: "1"}


def test_verb_says_of_each_model_what_came_of_it_and_goes_on_after_a_refusal(registry: Registry) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "firstmile", "promote", OTHER, "preference", MODEL],
        env={**os.environ, **as_environment(registry.settings), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    result = orjson.loads(done.stdout)
    assert {m: (said["version"], said["previous"]) for m, said in result["models"].items()} == {MODEL: ("3", "1")}
    assert list(result["refused"]) == [OTHER, "preference"]
    assert "live traffic says worse: [red] clicks" in result["refused"][OTHER]
    assert "Traceback" not in done.stderr
    rows = {row.split("│")[1].strip(): row for row in done.stderr.splitlines() if row.startswith("│")}
    assert "│ promoted     │ 3, before: 1" in rows[MODEL]
    assert "│ not promoted │ disengagement 1 was refused, champion stays unset. experiment: " in rows[OTHER]
    assert "worse: [red] clicks -2.1 %" in rows[OTHER]
    assert "│ not promoted │ no version of preference is registered" in rows["preference"]
    assert "GateError: not promoted: disengagement, preference; champions are: activation" in done.stderr
    assert registry.aliases() == {CHAMPION: "3", PREVIOUS: "1"}


def test_an_mlflow_that_fails_for_one_model_is_a_reason_in_words(registry: Registry) -> None:
    def fail() -> None:
        raise MlflowException("API request failed\nwith much more")

    promotions = promote_all(registry.interrupted("log_dict", fail), [OTHER, MODEL], settings=registry.settings)
    assert list(promotions.done) == [MODEL]
    assert isinstance(promotions.refused[OTHER], DependencyError)
    assert "broke off, MLflow could not be read or written (API request failed);" in promotions.reasons()[OTHER]
    with pytest.raises(GateError, match="not promoted: disengagement"):
        promotions.check()


def test_a_refusal_of_the_only_model_asked_for_is_raised_as_it_is(registry: Registry) -> None:
    promotions = promote_all(registry.client, [OTHER], settings=registry.settings, shows=False)
    with pytest.raises(GateError, match="disengagement 1 was refused, champion stays unset"):
        promotions.check()

"""Training against the real offline store and a real MLflow: history in, challenger and champion out.

One slice of the shipped data (400 learners of BBB_2013B, to day 35) is backfilled and trained on once.
"""

import json
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow.xgboost
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import FreeSettings
from mlflow.tracking import MlflowClient

from feature_repo.services import model_features
from feature_repo.store import feature_store
from firstmile import oulad
from firstmile.errors import DataError, DependencyError, GateError, UsageError
from firstmile.names import AUDIT_ATTRIBUTES, CHALLENGER, CHAMPION, MODELS, PREVIOUS, SKILL_LEVELS
from firstmile.oulad import OuladTables, day_end_us
from firstmile.settings import ROOT, Settings, as_environment
from pipelines.backfill import backfill_oulad
from pipelines.clean import clean, read_mapping
from pipelines.history import activity_history
from pipelines.oulad_events import oulad_events
from training.dataset import vectors
from training.figures import metric_name
from training.labels import Labelled, label
from training.models import probabilities
from training.promote import promote
from training.register import commit
from training.tasks import TASKS
from training.tracking import connect, versions
from training.train import train

DATA = ROOT / "data" / "oulad"
P = "BBB_2013B"
N_LEARNERS = 400
LAST_DAY = 35


@dataclass(frozen=True)
class Trained:
    """A home with history, and what training on it said."""

    settings: Settings
    tables: OuladTables
    result: dict[str, Any]
    client: MlflowClient


def first_learners(tables: OuladTables, n: int) -> OuladTables:
    ids = pa.array(sorted(tables.registrations["id_student"].to_pylist())[:n])
    cut = {
        name: getattr(tables, name).filter(pc.is_in(getattr(tables, name)["id_student"], ids))
        for name in ("clicks", "info", "registrations", "hand_ins")
    }
    return replace(tables, **cut)


@pytest.fixture(scope="module")
def trained(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    settings = stack.model_copy(update={"home": tmp_path_factory.mktemp("training")})
    bounds = settings.home / "quality.yaml"  # labels are of all, history of a slice of the learners
    bounds.write_text(settings.training.quality.read_text().replace("without_history: 0.05", "without_history: 0.8"))
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"quality": bounds})})
    tables = first_learners(oulad.read(DATA, [P]), N_LEARNERS)
    backfill_oulad(settings, tables, days=(None, LAST_DAY), workers=1)
    result = train(settings, MODELS, presentations=None, data=DATA)
    return Trained(settings, tables, result, MlflowClient(settings.mlflow_uri))


def test_every_model_is_a_registered_challenger_with_all_its_papers(trained: Trained) -> None:
    for model in MODELS:
        said = trained.result["models"][model]
        version = trained.client.get_model_version_by_alias(model, CHALLENGER)
        assert (str(version.version), version.run_id) == (said["version"], said["run_id"])
        run = trained.client.get_run(version.run_id)
        assert run.data.tags["feature_service"] == f"{model}_v1"
        assert run.data.tags["min_onboarding_days"] == "0"
        assert int(run.data.tags["trained_until_us"]) > day_end_us(P, 28)
        assert run.data.tags["git_commit"] == commit()
        assert run.data.params["set.sha256"] == said["set"]["sha256"]
        assert run.info.status == "FINISHED"
        for day in TASKS[model].evaluated_days:
            logged = run.data.metrics[metric_name(said["judged_by"], day, "log_loss")]
            assert logged == pytest.approx(said["metrics"][said["judged_by"]][str(day)]["log_loss"])


def test_the_artifact_is_a_native_booster_that_says_what_the_reference_says(trained: Trained, tmp_path: Path) -> None:
    for model in MODELS:
        booster = mlflow.xgboost.load_model(f"models:/{model}@{CHALLENGER}")
        assert booster.feature_names == model_features(model)
        info = mlflow.models.get_model_info(f"models:/{model}@{CHALLENGER}")
        assert info.signature.inputs.input_names() == model_features(model)
        run_id = trained.result["models"][model]["run_id"]
        folder = Path(trained.client.download_artifacts(run_id, "", str(tmp_path / model)))
        assert json.loads((folder / "features.json").read_text()) == model_features(model)
        reference = pq.read_table(folder / "training_set.parquet")
        names = ["prediction"] if model != "skill_level" else [f"prediction:{level}" for level in SKILL_LEVELS]
        assert reference.column_names == [*model_features(model), *names]
        assert reference.num_rows == trained.result["models"][model]["set"]["n_rows"]
        x = reference.select(model_features(model)).to_pandas().to_numpy(np.float64)
        answers = probabilities(booster, x)[:, -len(names) :]
        assert np.allclose(reference.select(names).to_pandas().to_numpy(), answers)


def test_nobody_of_the_audit_enters_the_set_or_the_reference(trained: Trained, tmp_path: Path) -> None:
    for model in MODELS:
        run_id = trained.result["models"][model]["run_id"]
        path = trained.client.download_artifacts(run_id, "training_set.parquet", str(tmp_path))
        columns = pq.read_schema(path).names
        assert not [c for c in columns for a in (*AUDIT_ATTRIBUTES, "user_id", "id_student") if a in c]


def test_counts_add_up_to_everybody_enrolled(trained: Trained) -> None:
    for model in MODELS:
        said = trained.result["models"][model]
        without_row = 0
        for counts in said["counts_per_day"].values():
            left_out = {k: n for k, n in counts.items() if k.startswith("left_out:")}
            missing = left_out.pop("left_out:no row in the history")
            assert counts["rows"] + sum(left_out.values()) == 1_767
            without_row += missing
        assert said["set"]["n_rows"] == sum(c["rows"] for c in said["counts_per_day"].values()) - without_row
        assert said["set"]["n_users"] <= N_LEARNERS


def test_features_at_day_n_are_what_had_arrived_by_then(trained: Trained) -> None:
    labelled = label("disengagement", trained.tables)
    found = vectors(feature_store(trained.settings), {"disengagement": labelled})["disengagement"]
    events = oulad_events(trained.tables, to_day=LAST_DAY).to_pandas()
    clicks = events[events["name"].isin(["Page Viewed", "Content Opened"])]
    assert len(found) > 1_500
    for now_us, at in found.groupby(level="now_us"):
        weight = clicks[clicks["received_us"] <= now_us].groupby("user_id")["weight"].sum()
        expected = weight.reindex(at.index.get_level_values("user_id")).fillna(0.0)
        assert at["clicks_total_weight"].to_numpy().tolist() == expected.to_list()


def test_models_sharing_a_retrieval_get_the_vectors_they_would_get_alone(trained: Trained) -> None:
    store = feature_store(trained.settings)
    labelled = {model: label(model, trained.tables) for model in MODELS}
    shared = vectors(store, labelled)
    for model in MODELS:
        alone = vectors(store, {model: labelled[model]})[model]
        pd.testing.assert_frame_equal(shared[model].loc[alone.index], alone)


def clone(events: pd.DataFrame, user: str, times_us: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """The events as another user's, with copies of a click at (event_us, received_us), each of weight 1,000."""
    click = events[events["name"] == "Content Opened"].iloc[[0]]
    copies = [click.assign(event_us=event, received_us=received, weight=1_000) for event, received in times_us]
    frame = pd.concat([events, *copies], ignore_index=True).assign(user_id=user)
    return frame.assign(message_id=[str(uuid.uuid4()) for _ in range(len(frame))])


def add_history(settings: Settings, frame: pd.DataFrame) -> None:
    ordered = frame.sort_values(["received_us", "message_id"], ignore_index=True)
    tables = activity_history(clean(ordered, read_mapping()), history_to_us=int(ordered["received_us"].max()))
    path = settings.history / "user_activity" / f"{uuid.uuid4()}.parquet"
    pq.write_table(pa.concat_tables(tables), path)


def test_what_was_not_known_at_the_snapshot_changes_no_vector(trained: Trained) -> None:
    now_us, day_us = day_end_us(P, 7), 86_400_000_000
    plants: dict[str, list[tuple[int, int]]] = {
        "plain": [],
        "later": [(now_us + 1, now_us + 2)],  # happened after
        "late": [(now_us - 2 * day_us, now_us + 1)],  # happened before, known after
        "known": [(now_us - 2 * day_us, now_us - day_us)],  # happened and known before: must be seen
    }
    events = oulad_events(trained.tables, to_day=LAST_DAY).drop_columns(["properties"]).to_pandas()
    busiest = events[events["user_id"] == events["user_id"].value_counts().index[0]]
    # Ids of nobody enrolled: no label, so no other test meets them.
    users = {name: f"{P}-{9_000_000 + i}" for i, name in enumerate(plants)}
    add_history(trained.settings, pd.concat([clone(busiest, users[name], plants[name]) for name in plants]))
    rows = pd.DataFrame(
        [(u, P, day) for u in users.values() for day in (7, 14)], columns=["user_id", "presentation", "day"]
    )
    found = vectors(feature_store(trained.settings), {"activation": Labelled(rows)})["activation"]
    at_7 = {name: found.loc[(users[name], now_us)].to_dict() for name in plants}
    at_14 = {name: found.loc[(users[name], day_end_us(P, 14))].to_dict() for name in plants}
    assert at_7["plain"]["clicks_total_weight"] > 0
    assert same(at_7["later"], at_7["plain"])
    assert same(at_7["late"], at_7["plain"])
    assert at_7["known"]["clicks_total_weight"] - at_7["plain"]["clicks_total_weight"] == 1_000
    for name in ("later", "late"):  # the plants are in the history, only not at day 7
        assert at_14[name]["clicks_total_weight"] - at_14["plain"]["clicks_total_weight"] == 1_000


def same(one: dict[str, float], other: dict[str, float]) -> bool:
    return one.keys() == other.keys() and np.array_equal(list(one.values()), list(other.values()), equal_nan=True)


def version_with(client: MlflowClient, model: str, **figures: float) -> str:
    """A version of its own, whose run logged these figures on every judged day."""
    source = client.get_model_version_by_alias(model, CHALLENGER)
    run = client.create_run(client.get_run(source.run_id).info.experiment_id)
    client.set_tag(run.info.run_id, "judged_by", "later_start")
    for day in TASKS[model].evaluated_days:
        for name, value in figures.items():
            client.log_metric(run.info.run_id, metric_name("later_start", day, name), value)
    client.set_terminated(run.info.run_id)
    model_id = source.source.removeprefix("models:/")
    return str(client.create_model_version(model, source.source, run.info.run_id, model_id=model_id).version)


GOOD = {"auc": 0.8, "auc_one_column": 0.7, "log_loss": 0.3, "log_loss_majority": 0.5}


def aliases(client: MlflowClient, model: str) -> dict[str, str]:
    return {k: str(v) for k, v in client.get_registered_model(model).aliases.items()}


def test_promotion_moves_champion_keeps_previous_and_says_when_there_is_nothing_to_do(trained: Trained) -> None:
    client, challenger = trained.client, trained.result["models"]["disengagement"]["version"]
    first = promote(client, "disengagement")
    assert (first["promoted"], first["version"], first["previous"]) == (True, challenger, None)
    again = promote(client, "disengagement")
    assert (again["promoted"], again["note"]) == (False, f"version {challenger} is champion already")
    second = promote(client, "disengagement", version_with(client, "disengagement", **GOOD))
    assert second["previous"] == challenger
    assert aliases(client, "disengagement") == {
        CHALLENGER: challenger,
        CHAMPION: second["version"],
        PREVIOUS: challenger,
    }


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"log_loss": 0.6}, "better than majority"),
        ({"auc": 0.6}, "not worse than one column"),
        ({"auc": float("nan")}, "missing or undefined"),
    ],
)
def test_a_refused_version_leaves_every_alias_and_a_record(trained: Trained, bad: Any, reason: str) -> None:
    client = trained.client
    version = version_with(client, "activation", **{**GOOD, **bad})
    before = aliases(client, "activation")
    with pytest.raises(GateError, match=reason) as refused:
        promote(client, "activation", version)
    assert refused.value.exit_code == 1
    assert aliases(client, "activation") == before
    found = client.get_model_version("activation", version)
    assert found.tags["gate"] == "refused"
    assert json.loads(Path(client.download_artifacts(found.run_id, f"gates/promote-{version}.json")).read_text())


def test_unknown_versions_and_models_list_the_known_ones(trained: Trained) -> None:
    with pytest.raises(UsageError, match="unknown version of activation '999'; known: 1"):
        promote(trained.client, "activation", "999")
    with pytest.raises(DataError, match="no version of nobody is registered"):
        promote(trained.client, "nobody")


def test_the_verb_prints_one_json_object_and_nothing_else_on_stdout(trained: Trained) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "firstmile", "train", "--model", "activation", "--data", DATA],
        env={"PATH": "/usr/bin:/bin", **as_environment(trained.settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result["models"]) == ["activation"]
    same = ("set", "counts_per_day", "n_rounds", "metrics")
    assert {k: result["models"]["activation"][k] for k in same} == {
        k: json.loads(json.dumps(trained.result["models"]["activation"][k])) for k in same
    }


def test_data_that_does_not_hold_what_is_expected_leaves_the_registry_as_it_was(trained: Trained) -> None:
    settings, client = trained.settings, trained.client
    bounds = settings.home / "strict.yaml"
    bounds.write_text(settings.training.quality.read_text().replace("min_users: 50", "min_users: 5000"))
    strict = settings.model_copy(update={"training": settings.training.model_copy(update={"quality": bounds})})
    before = {model: (versions(client, model), aliases(client, model)) for model in MODELS}
    with pytest.raises(
        GateError, match=r"n_users: 1 of 1 rows, for example .* of history BBB_2013B.*Data Docs: file://"
    ):
        train(strict, MODELS, presentations=None, data=DATA)
    assert {model: (versions(client, model), aliases(client, model)) for model in MODELS} == before


def test_without_history_training_names_the_command_that_makes_it(stack: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="firstmile backfill oulad"):
        train(stack.model_copy(update={"home": tmp_path}), MODELS, presentations=None, data=DATA)


def test_a_presentation_that_was_not_backfilled_is_refused(trained: Trained) -> None:
    with pytest.raises(DataError, match=r"no AAA_2014J; it has BBB_2013B"):
        train(trained.settings, MODELS, presentations=["AAA_2014J"], data=DATA)


def test_without_mlflow_training_says_so_before_any_work(free_settings: FreeSettings) -> None:
    with pytest.raises(DependencyError, match=r"MLflow at http://127\.0\.0\.1:\d+ does not answer"):
        connect(free_settings())

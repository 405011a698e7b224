"""Training against the real offline store and a real MLflow: history in, challenger and champion out.

One slice of the shipped data (400 learners of BBB_2013B) is backfilled and trained on once.
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
from demo_product import EVENTS
from mlflow.tracking import MlflowClient

from examples.oulad.evaluation.evaluate import evaluate_oulad
from examples.oulad.evaluation.scratch import scratch_store
from examples.oulad.events.events import oulad_events
from examples.oulad.history.backfill import backfill_oulad
from examples.oulad.learning.labels import label
from examples.oulad.tables import tables as oulad
from examples.oulad.tables.tables import OuladTables, day_end_us, day_start_us
from feature_repo.services import model_features
from feature_repo.store import feature_store
from firstmile.calibration import FILE, read_calibration
from firstmile.errors import DataError, DependencyError, GateError, UsageError
from firstmile.names import CHALLENGER, CHAMPION, PREVIOUS
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings, as_environment
from firstmile.vocabulary import AUDIT_ATTRIBUTES, CLASSES, MODELS
from pipelines.clean import clean, read_mapping
from pipelines.history import activity_history
from serving.golden import TOLERANCE
from serving.model_copies import Champion
from serving.model_copies import load as load_for_serving
from training.again import made_of
from training.dataset import vectors
from training.figures import metric_name
from training.judge import compare, judge_version
from training.labelled import Labelled
from training.models import class_scores
from training.papers import TRAINING_USERS, commit
from training.plan import Plan
from training.promote import promote
from training.rollback import rollback_all
from training.tasks import TASKS
from training.tracking import connect, versions
from training.train import run, train
from training.versions import read_set, read_version

DATA = ROOT / "data" / "oulad"
P = "BBB_2013B"
N_LEARNERS = 400


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
    backfill_oulad(settings, tables, days=(None, None), workers=1)
    result = train(settings, MODELS)
    return Trained(settings, tables, result, MlflowClient(settings.mlflow_uri))


def test_every_model_is_a_registered_challenger_with_all_its_papers(trained: Trained) -> None:
    for model in MODELS:
        said = trained.result["models"][model]
        version = trained.client.get_model_version_by_alias(model, CHALLENGER)
        assert (str(version.version), version.run_id) == (said["version"], said["run_id"])
        run = trained.client.get_run(version.run_id)
        assert run.data.tags["feature_service"] == f"{model}_v1"
        assert run.data.tags["min_onboarding_days"] == str(min(TASKS[model].snapshot_days))
        papers = {f.path for f in trained.client.list_artifacts(version.run_id)}
        assert papers >= {"gates.json", "slices.json", "model_card.md", "training_users.parquet", "examined.parquet"}
        plots = trained.client.list_artifacts(version.run_id, "plots")
        assert {Path(f.path).name for f in plots} == {"calibration.png", "roc.png", "importance.png", "groups.png"}
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
        names = [f"prediction:{c}" for c in CLASSES[model]] if model in CLASSES else ["prediction"]
        assert reference.column_names == [*model_features(model), *names]
        assert reference.num_rows == trained.result["models"][model]["set"]["n_rows"]
        x = reference.select(model_features(model)).to_pandas().to_numpy(np.float64)
        model_folder = mlflow.artifacts.download_artifacts(
            f"models:/{model}@{CHALLENGER}", dst_path=str(tmp_path / "m")
        )
        calibration = read_calibration((Path(model_folder) / "extra_files" / FILE).read_bytes())
        answers = calibration.apply(class_scores(booster, x))[:, -len(names) :]
        assert np.allclose(reference.select(names).to_pandas().to_numpy(), answers)
        assert serving_says(model, Path(model_folder), reference.slice(0, 5).to_pylist(), names)


def serving_says(model: str, folder: Path, rows: list[dict[str, float]], names: list[str]) -> bool:
    """Whether serving's own way to load and ask the model gives the registered answers."""
    loaded = load_for_serving(Champion(model, "1", "run"), folder)
    said = [loaded.probabilities(row) for row in rows]
    return all(
        abs(answer[name.replace("prediction", model)] - row[name]) < TOLERANCE
        for answer, row in zip(said, rows, strict=True)
        for name in names
    )


def test_nobody_of_the_audit_enters_the_set_or_the_reference(trained: Trained, tmp_path: Path) -> None:
    for model in MODELS:
        run_id = trained.result["models"][model]["run_id"]
        path = trained.client.download_artifacts(run_id, "training_set.parquet", str(tmp_path))
        columns = pq.read_schema(path).names
        assert not [c for c in columns for a in (*AUDIT_ATTRIBUTES, "user_id", "person") if a in c]


def test_counts_add_up_to_everybody_enrolled(trained: Trained) -> None:
    for model in MODELS:
        said = trained.result["models"][model]
        without_row = 0
        assert set(said["counts_per_day"]) == {str(day) for day in TASKS[model].snapshot_days}
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
    events = oulad_events(trained.tables).to_pandas()
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
        assert len(alone) > 300
        pd.testing.assert_frame_equal(shared[model].loc[alone.index], alone)


def clone(events: pd.DataFrame, user: str, times_us: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """The events as another user's, with copies of a click at (event_us, received_us), each of weight 1,000."""
    click = events[events["name"] == "Content Opened"].iloc[[0]]
    copies = [click.assign(event_us=event, received_us=received, weight=1_000) for event, received in times_us]
    frame = pd.concat([events, *copies], ignore_index=True).assign(user_id=user)
    return frame.assign(message_id=[str(uuid.uuid4()) for _ in range(len(frame))])


def add_history(settings: Settings, frame: pd.DataFrame) -> None:
    ordered = frame.sort_values(["received_us", "message_id"], ignore_index=True)
    tables = activity_history(clean(ordered, read_mapping(EVENTS)), history_to_us=int(ordered["received_us"].max()))
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
    events = oulad_events(trained.tables).drop_columns(["properties"]).to_pandas()
    busiest = events[events["user_id"] == events["user_id"].value_counts().index[0]]
    # Ids of nobody enrolled: no label, so no other test meets them.
    users = {name: f"{P}-{9_000_000 + i}" for i, name in enumerate(plants)}
    add_history(trained.settings, pd.concat([clone(busiest, users[name], plants[name]) for name in plants]))
    rows = pd.DataFrame(
        [(u, day_end_us(P, day)) for u in users.values() for day in (7, 14)], columns=["user_id", "now_us"]
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
    client.log_metric(run.info.run_id, "latency_ms", 0.3)
    client.log_metric(run.info.run_id, "size_bytes", 1e5)
    client.set_terminated(run.info.run_id)
    model_id = source.source.removeprefix("models:/")
    return str(client.create_model_version(model, source.source, run.info.run_id, model_id=model_id).version)


GOOD = {"auc": 0.8, "auc_one_column": 0.7, "log_loss": 0.3, "log_loss_majority": 0.5, "ece": 0.05}


def aliases(client: MlflowClient, model: str) -> dict[str, str]:
    return {k: str(v) for k, v in client.get_registered_model(model).aliases.items()}


def test_promotion_moves_champion_keeps_previous_and_says_when_there_is_nothing_to_do(trained: Trained) -> None:
    client, challenger = trained.client, trained.result["models"]["activation"]["version"]
    first = promote(client, "activation", settings=trained.settings)
    assert (first["promoted"], first["version"], first["previous"]) == (True, challenger, None)
    again = promote(client, "activation", settings=trained.settings)
    assert (again["promoted"], again["note"]) == (False, f"version {challenger} is champion already")
    made = made_of(client, trained.result["models"]["activation"]["run_id"])
    again = train(made.settings(trained.settings), [made.model], cohorts=made.cohorts)
    compared = made.compared(again["models"]["activation"])
    assert compared["is_same_set"]
    assert compared["n_metrics"] > 50
    assert compared["max_difference"] == pytest.approx(0.0, abs=1e-9)
    second = promote(client, "activation", settings=trained.settings)
    assert second["previous"] == second["against"] == challenger
    reasons = {v["gate"]: v["reason"] for v in second["verdicts"]}
    assert "the champion's recipe was refitted on the challenger's window" in reasons["not worse than champion"]
    assert aliases(client, "activation")[CHAMPION] == second["version"]
    back = rollback_all(client, ["activation"], settings=trained.settings)["activation"]
    assert (back["version"], back["previous"]) == (challenger, second["version"])
    assert aliases(client, "activation") == {
        CHALLENGER: second["version"],
        CHAMPION: challenger,
        PREVIOUS: second["version"],
    }


def test_there_is_nothing_to_roll_back_to_before_a_second_promotion(trained: Trained) -> None:
    with pytest.raises(DataError, match="skill_level has no previous version to go back to, champion is unset"):
        rollback_all(trained.client, ["skill_level"], settings=trained.settings)


def test_another_recipe_is_put_to_the_challengers_own_examination(trained: Trained) -> None:
    challenger = read_version(trained.client, "activation", trained.result["models"]["activation"]["version"])
    champion = replace(challenger, version="0", params={**challenger.params, "max_depth": "3"})
    found = compare(trained.client, challenger, champion)
    assert "max_depth 3" in found.how
    assert found.low < found.difference < found.high
    assert found.difference != 0.0


@pytest.mark.parametrize("model", ["activation", "skill_level"])
def test_a_recipe_that_this_code_does_not_have_is_not_taken_for_its_own(trained: Trained, model: str) -> None:
    challenger = read_version(trained.client, model, trained.result["models"][model]["version"])
    older = {name: value for name, value in challenger.params.items() if name != "recipe"}
    assert "the challenger's own" in compare(trained.client, challenger, replace(challenger, version="0")).how
    with pytest.raises(DataError, match="of before they had names"):
        compare(trained.client, challenger, replace(challenger, version="0", params=older))


def test_a_start_after_the_champions_last_label_is_answered_by_the_champion_itself(
    trained: Trained, tmp_path: Path
) -> None:
    client = trained.client
    challenger = read_version(client, "activation", trained.result["models"]["activation"]["version"])
    users = read_set(client, challenger).users
    asked = users[users["day"].isin(TASKS["activation"].evaluated_days)]
    run = client.create_run(client.get_run(challenger.run_id).info.experiment_id)
    pq.write_table(pa.table({"person": asked["person"][:1].tolist()}), tmp_path / TRAINING_USERS)
    client.log_artifact(run.info.run_id, str(tmp_path / TRAINING_USERS))
    before = {**challenger.tags, "trained_until_us": str(day_start_us(P, 0) - 1)}
    found = compare(client, challenger, replace(challenger, run_id=run.info.run_id, tags=before))
    n = asked["user_id"].nunique() - 1  # one of them it is said to have learned from
    assert found.how == f"data after both: {n} users of BBB_2013B whom neither had seen"
    assert found.difference < 0  # here it had learned from these very learners: only the registered booster answers so
    pq.write_table(pa.table({"person": users["person"].unique()}), tmp_path / TRAINING_USERS)
    client.log_artifact(run.info.run_id, str(tmp_path / TRAINING_USERS))
    with pytest.raises(DataError, match="nobody is left"):
        compare(client, challenger, replace(challenger, run_id=run.info.run_id, tags=before))


def test_evaluation_sees_the_vectors_that_training_sees(trained: Trained) -> None:
    days = TASKS["disengagement"].evaluated_days
    labelled = {"disengagement": label("disengagement", trained.tables, days=days)}
    expected = vectors(feature_store(trained.settings), labelled)["disengagement"]
    with scratch_store(trained.settings, DATA, [P], to_day=max(days)) as store:
        found = vectors(store, labelled)["disengagement"]
    assert len(found) > 900
    pd.testing.assert_frame_equal(found.sort_index(), expected.sort_index())


def test_a_start_never_seen_is_evaluated_and_a_model_without_champion_says_so(trained: Trained, tmp_path: Path) -> None:
    write_as(tmp_path, "CCC_2014B")
    trained.client.set_registered_model_alias("preference", CHAMPION, trained.result["models"]["preference"]["version"])
    lost = version_with(trained.client, "disengagement", **GOOD)
    trained.client.set_registered_model_alias("disengagement", CHAMPION, lost)
    found = evaluate_oulad(trained.settings, tmp_path, None)
    trained.client.delete_registered_model_alias("disengagement", CHAMPION)
    assert "train it again" in found["models"]["disengagement"]["error"]  # which holds up nobody else
    by_day = found["models"]["preference"]
    assert set(by_day) == {"14", "28"}
    assert 0 < by_day["28"]["accuracy"] <= 1
    assert by_day["28"]["n"] > 50
    assert set(found["groups"]["preference"]["28"]) == set(AUDIT_ATTRIBUTES)
    assert "no champion; firstmile train --model skill_level" in found["models"]["skill_level"]["error"]
    (tmp_path / "courses.csv").write_text("code_module,code_presentation,module_presentation_length\n")
    with pytest.raises(DataError, match=r"courses.csv: no presentation stands in it"):
        evaluate_oulad(trained.settings, tmp_path, None)


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
        promote(client, "activation", version, settings=trained.settings)
    assert refused.value.exit_code == 1
    assert aliases(client, "activation") == before
    found = client.get_model_version("activation", version)
    assert found.tags["gate"] == "refused"
    assert json.loads(Path(client.download_artifacts(found.run_id, f"gates/promote-{version}.json")).read_text())


def test_a_champion_whose_papers_are_lost_refuses_the_comparison_and_says_the_way_out(trained: Trained) -> None:
    client, challenger = trained.client, trained.result["models"]["activation"]["version"]
    before = aliases(client, "activation")[CHAMPION]
    client.set_registered_model_alias("activation", CHAMPION, version_with(client, "activation", **GOOD))
    try:
        verdict = judge_version(client, "activation", challenger).verdicts[-1]
    finally:
        client.set_registered_model_alias("activation", CHAMPION, before)
    assert (verdict.gate, verdict.passed) == ("not worse than champion", False)
    assert "MLflow did not give training_users.parquet" in verdict.reason
    assert "firstmile rollback activation" in verdict.reason


def test_retraining_moves_challenger_only_through_the_gates_and_notes_what_reweighing_did(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, model = trained.client, "activation"
    before = aliases(client, model)
    plan = Plan(because="bias", reweigh="gender", is_gated=True)
    with monkeypatch.context() as strict:
        strict.setattr("training.gates.ECE_BOUND", 0.0)
        refused = train(trained.settings, [model], plan=plan)["models"][model]
    assert (refused["alias"], refused["would_promote"]) == (None, False)
    assert aliases(client, model) == before
    passed = train(trained.settings, [model], plan=plan)["models"][model]
    assert passed["alias"] == CHALLENGER
    assert aliases(client, model) == {**before, CHALLENGER: passed["version"]}
    run = client.get_run(passed["run_id"])
    assert (run.data.params["reweighed"], run.data.tags["because"]) == ("gender", "bias")
    assert passed["reweighed"]["effect"].keys() >= {"auc", "gap_selection_rate_gender"}
    assert read_set(client, read_version(client, model, passed["version"])).features == tuple(model_features(model))
    client.set_registered_model_alias(model, CHALLENGER, before[CHALLENGER])


def test_parameters_that_were_searched_for_are_filed_made_again_and_kept_by_retraining(trained: Trained) -> None:
    client, name = trained.client, "skill_level"

    def run(plan: Plan) -> tuple[dict[str, Any], dict[str, str]]:
        told = train(trained.settings, [name], cohorts=[P], plan=plan)["models"][name]
        return told, read_version(client, name, told["version"]).params

    told, params = run(Plan(n_trials=20))
    changed = told["search"]["parameters"]
    assert changed
    assert {n: params[n] for n in changed} == {n: str(v) for n, v in changed.items()}
    assert {file.path for file in client.list_artifacts(told["run_id"], "plots")} >= {"plots/search.png"}
    made = made_of(client, told["run_id"])
    again, same = run(made.plan)
    assert made.compared(again)["max_difference"] == 0.0
    assert "search" not in again
    client.set_registered_model_alias(name, CHAMPION, again["version"])
    _, kept = run(Plan(is_gated=True))
    assert {n: kept[n] for n in changed} == {n: same[n] for n in changed} == {n: str(v) for n, v in changed.items()}
    client.delete_registered_model_alias(name, CHAMPION)


def test_unknown_versions_and_models_list_the_known_ones(trained: Trained) -> None:
    with pytest.raises(UsageError, match="unknown version of activation '999'; known: 1"):
        promote(trained.client, "activation", "999", settings=trained.settings)
    with pytest.raises(DataError, match="no version of nobody is registered"):
        promote(trained.client, "nobody", settings=trained.settings)


def test_training_whose_promotion_is_refused_says_what_it_trained_and_why_of_each_model(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, models = trained.client, ("disengagement", "skill_level")
    before = {model: aliases(client, model) for model in models}
    for name, value in as_environment(trained.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("training.gates.ECE_BOUND", 0.0)
    with pytest.raises(GateError, match="not promoted: disengagement, skill_level") as refused:
        run(model=",".join(models), cohorts=P, then_promote=True, n_trials=0)
    assert refused.value.exit_code == 1
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert tuple(result["models"]) == models
    assert result["promoted"] == {}
    assert all(
        f"{model} {found['version']} was refused" in result["refused"][model]
        for model, found in result["models"].items()
    )
    assert said.err.count("not promoted") == len(models)
    for model in models:
        assert aliases(client, model) == {**before[model], CHALLENGER: result["models"][model]["version"]}
        client.set_registered_model_alias(model, CHALLENGER, before[model][CHALLENGER])


def test_the_verb_prints_one_json_object_and_nothing_else_on_stdout(trained: Trained) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "firstmile", "train", "--model", "activation"],
        env={"PATH": "/usr/bin:/bin", **as_environment(trained.settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again, before = (
        # To nine places: sums over thousands of draws end in another last bit where memory lies otherwise.
        json.loads(text, parse_float=lambda digits: round(float(digits), 9))["models"]
        for text in (done.stdout, json.dumps(trained.result))
    )
    assert list(again) == ["activation"]
    for what in ("set", "counts_per_day", "n_rounds", "metrics"):
        assert again["activation"][what] == before["activation"][what]


def test_data_that_does_not_hold_what_is_expected_leaves_the_registry_as_it_was(trained: Trained) -> None:
    settings, client = trained.settings, trained.client
    bounds = settings.home / "strict.yaml"
    bounds.write_text(settings.training.quality.read_text().replace("min_users: 50", "min_users: 5000"))
    strict = settings.model_copy(update={"training": settings.training.model_copy(update={"quality": bounds})})
    before = {model: (versions(client, model), aliases(client, model)) for model in MODELS}
    with pytest.raises(
        GateError, match=r"n_users: 1 of 1 rows, for example .* of history BBB_2013B.*Data Docs: file://"
    ):
        train(strict, MODELS)
    assert {model: (versions(client, model), aliases(client, model)) for model in MODELS} == before


def write_as(folder: Path, cohort: str) -> None:
    """120 learners of BBB_2013B under another name, in the original form: CSV, `?`, 1 and 0, days like 19.0."""
    module, start = cohort.split("_")
    ids: set[int] = set()
    for name in ("studentInfo", "courses", "assessments", "vle", "studentRegistration", "studentAssessment"):
        frame = pd.read_csv(DATA / f"{name}.csv.gz")
        if "code_module" in frame:
            frame = frame[frame["code_module"] == "BBB"].assign(code_module=module, code_presentation=start)
        if name == "studentInfo":
            ids = set(sorted(frame["id_student"])[:120])
        if name == "assessments":
            known = set(frame["id_assessment"])
        if name == "studentAssessment":
            frame = frame[frame["id_assessment"].isin(known)].assign(is_banked=lambda f: f["is_banked"].astype(int))
        if "id_student" in frame:
            frame = frame[frame["id_student"].isin(ids)]
        frame.astype(object).where(frame.notna(), "?").to_csv(folder / f"{name}.csv", index=False)
    clicks = pd.read_parquet(DATA / "studentVle.parquet")
    clicks = clicks[(clicks["code_module"] == "BBB") & clicks["id_student"].isin(ids)]
    clicks.assign(code_module=module, code_presentation=start).to_csv(folder / "studentVle.csv", index=False)


def test_history_that_stops_before_a_labels_future_is_refused(stack: Settings, tmp_path: Path) -> None:
    few = tmp_path / "quality.yaml"
    few.write_text(stack.training.quality.read_text().replace("min_users: 50", "min_users: 1"))
    training = stack.training.model_copy(update={"quality": few})
    settings = stack.model_copy(update={"home": tmp_path, "training": training})
    backfill_oulad(settings, first_learners(oulad.read(DATA, [P]), 20), days=(None, 35), workers=1)
    with pytest.raises(DataError, match="labels of disengagement look as far as day 42 of BBB_2013B"):
        train(settings, ["disengagement"])


def test_without_history_training_names_the_command_that_makes_it(stack: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="firstmile backfill oulad"):
        train(stack.model_copy(update={"home": tmp_path}), MODELS)


def test_a_cohort_that_was_not_backfilled_is_refused(trained: Trained) -> None:
    with pytest.raises(DataError, match=r"no AAA_2014J; it has BBB_2013B"):
        train(trained.settings, MODELS, cohorts=["AAA_2014J"])


def test_without_mlflow_training_says_so_before_any_work(free_settings: FreeSettings) -> None:
    with pytest.raises(DependencyError, match=r"MLflow at http://127\.0\.0\.1:\d+ does not answer"):
        connect(free_settings())

"""The content ranker against the real offline store and a real MLflow: clicks in, groups, a registered ranker out.

150 learners each of two starts of a course are backfilled, to day 21, and learned from once.
"""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow.xgboost
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from demo_product import CONTENT, PRODUCT
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from mlflow.tracking import MlflowClient
from test_training import DATA, first_learners

from examples.oulad.evaluation.ranker import evaluate_ranker, has_champion
from examples.oulad.history.backfill import backfill_oulad
from examples.oulad.learning.material import audit_of
from examples.oulad.learning.openings import read_pages
from examples.oulad.learning.ranking import ranking_set
from examples.oulad.tables import tables as oulad
from examples.oulad.tables.tables import OuladTables, day_end_us
from feature_repo.content_features import MAX_CANDIDATES, RANKER_FEATURES, USER_FEATURES
from feature_repo.distinct import EXACT
from feature_repo.fields import CONTENT_COUNTS
from feature_repo.online_store import connect as redis_client
from feature_repo.online_store import content_key, time_bytes
from feature_repo.reader import FIELDS, decode
from feature_repo.store import apply, feature_store
from firstmile.clock import FixedClock
from firstmile.errors import GateError
from firstmile.names import CHALLENGER, CHAMPION
from firstmile.settings import Settings
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from pipelines.backfill_content import backfill_content
from pipelines.content_online import ContentPublisher
from pipelines.content_tiles import ContentTiles
from serving.catalogue import load_catalogue
from serving.content_counts import ContentCounts
from serving.features import Reading
from serving.ranker import vectors
from training.again import made_of
from training.dataset import retrieve
from training.judge import judge_version
from training.labels_file import read_labels
from training.papers import TRAINING_USERS, commit
from training.ranker import Ranker
from training.ranker_compare import compare_rankers
from training.ranker_examine import day_figures
from training.ranker_train import train_ranker
from training.ranking_offer import offered
from training.ranking_reads import packed_rows, statistics
from training.ranking_set import EVALUATED_DAYS, MODEL, SNAPSHOT_DAYS, RankingSet
from training.tracking import connect, experiment_id, versions
from training.train import train
from training.versions import Version, read_version

ABOUT = read_labels(PRODUCT / "labels.yaml")[1].about
STARTS = ["AAA_2013J", "AAA_2014J"]
LAST_DAY = 21


@dataclass(frozen=True)
class Ranked:
    """A home with history, the set made of it, and what training on it said."""

    settings: Settings
    tables: OuladTables
    data: RankingSet
    result: dict[str, Any]


@pytest.fixture(scope="module")
def ranked(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Ranked:
    settings = stack.model_copy(update={"home": tmp_path_factory.mktemp("ranker")})
    bounds = settings.home / "quality.yaml"  # openings are of all, history of a slice of the learners
    bounds.write_text(settings.training.quality.read_text().replace("without_history: 0.05", "without_history: 0.8"))
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"quality": bounds})})
    tables = first_learners(oulad.read(DATA, STARTS), 300)
    backfill_oulad(settings, tables, days=(None, LAST_DAY), workers=1)
    backfill_content(settings, "oulad")
    data = ranking_set(apply(settings), tables, DATA)
    client = connect(settings)
    experiment, audit = experiment_id(client, settings), audit_of(tables)
    result = train_ranker(client, experiment, data, audit=audit, settings=settings.training, about=ABOUT)
    return Ranked(settings, tables, data, result)


def test_groups_are_what_the_clicks_say(ranked: Ranked) -> None:
    clicks, pages = ranked.tables.clicks.to_pandas(), read_pages(DATA, STARTS)
    groups, n_exact = ranked.data.groups, 0
    for at in np.random.default_rng(0).choice(len(groups), 60, replace=False):
        group, rows = groups.iloc[at], ranked.data.group == at
        shelf = pages[group["cohort"]]["id_site"]
        course = clicks[(clicks["presentation"] == group["cohort"]) & clicks["id_site"].isin(shelf)]
        own = course[course["id_student"] == group["person"]]
        before = set(own.loc[own["date"] <= group["day"], "id_site"])
        ahead = set(own.loc[own["date"].between(group["day"] + 1, group["day"] + 7), "id_site"])
        if len(before) > EXACT:  # past it a row takes a few unseen pages for seen
            continue
        n_exact += 1
        opened = course[course["date"] <= group["day"]].groupby("id_site").size().reindex(shelf, fill_value=0)
        unseen = opened[~opened.index.isin(before)].sort_values(ascending=False, kind="stable")[:MAX_CANDIDATES]
        assert ranked.data.site[rows].tolist() == unseen.index.tolist()
        assert ranked.data.n_opened[rows].tolist() == unseen.tolist()
        assert set(ranked.data.site[rows][ranked.data.y[rows] > 0]) == ahead & set(unseen.index)
        assert (group["n_openings"], group["n_lost"]) == (
            len(ahead & set(unseen.index)),
            len(ahead - before - set(unseen.index)),
        )
    assert n_exact > 40


def test_counts_add_up_to_everybody_enrolled(ranked: Ranked) -> None:
    for day in SNAPSHOT_DAYS:
        counts = ranked.data.counts[day]
        assert counts["rows"] == (ranked.data.groups["day"] == day).sum()
        assert counts["population"] == counts["rows"] + counts["left_out:no row in the history"]
        left_out = sum(n for why, n in counts.items() if why.startswith("left_out:"))
        assert counts["rows"] + left_out == ranked.tables.registrations.num_rows


def test_the_user_s_features_are_those_the_other_models_read(ranked: Ranked) -> None:
    groups = ranked.data.groups
    entities = groups[["user_id", "now_us"]].assign(
        event_timestamp=pd.to_datetime(groups["now_us"], unit="us", utc=True)
    )
    found = retrieve(feature_store(ranked.settings), "activation", entities)
    first = np.searchsorted(ranked.data.group, np.arange(len(groups)))
    expected = found.loc[pd.MultiIndex.from_frame(groups[["user_id", "now_us"]])]
    shared = [name for name in USER_FEATURES if name in found.columns]
    assert len(shared) >= 4
    for name in shared:
        mine = ranked.data.x[first, RANKER_FEATURES.index(name)]
        assert np.array_equal(mine, expected[name].to_numpy(np.float32), equal_nan=True)


def test_content_statistics_are_the_last_row_known_by_the_instant(ranked: Ranked) -> None:
    start, pages = STARTS[1], read_pages(DATA, STARTS)
    instants = [day_end_us(start, day) for day in (0, 7, 14)]
    found = statistics(feature_store(ranked.settings), pages, [(start, now_us) for now_us in instants])
    files = sorted((ranked.settings.history / "content_stats").glob("*.parquet"))
    table = ds.dataset(files).to_table()
    known_us = table["event_timestamp"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    history = table.set_column(table.column_names.index("event_timestamp"), "us", known_us).to_pandas()
    n_known = 0
    for content_id, now_us in [(c, us) for c in pages[start]["content_id"][::7] for us in instants]:
        rows = history[(history["content_id"] == content_id) & (history["us"] <= now_us)].sort_values("us")
        n_known += len(rows) > 0
        said = found.loc[(content_id, now_us), list(CONTENT_COUNTS)]
        assert said.isna().all() if rows.empty else said.tolist() == rows.iloc[-1][list(CONTENT_COUNTS)].tolist()
    assert n_known > 10


def test_serving_gives_the_ranker_online_what_training_gave_it_at_the_same_instant(ranked: Ranked) -> None:
    settings, start = ranked.settings, STARTS[1]
    now_us, pages = day_end_us(start, LAST_DAY), read_pages(DATA, STARTS)
    groups = ranked.data.groups
    users = groups.loc[groups["cohort"] == start, "user_id"].drop_duplicates().tolist()[::5]
    entities = pd.DataFrame({"user_id": users, "now_us": now_us})
    entities["event_timestamp"] = pd.to_datetime(entities["now_us"], unit="us", utc=True)
    store = feature_store(settings)
    packed = packed_rows(store, entities).droplevel("now_us")
    expected = offered(packed.tolist(), pages[start], statistics(store, pages, [(start, now_us)]), now_us)

    catalogue, client = load_catalogue(CONTENT), redis_client(settings.redis_url, timeout_s=5)
    rows = ContentTiles(settings).latest()
    counts = ContentCounts(client, lambda: catalogue, clock=FixedClock(now_us), poll_s=1)
    try:
        assert ContentPublisher(settings).publish(rows) == len(rows)  # as the archive does
        counts.look()
    finally:
        client.delete(*(content_key(content_id) for content_id in rows["content_id"]))
    shelf, n_recent = catalogue.shelf(start), 0
    for at, (user_id, row) in enumerate(packed.items()):
        stored = [ValueProto(bytes_val=row).SerializeToString(), time_bytes(now_us), *[None] * len(FIELDS)]
        reading = Reading(decode(str(user_id), stored[: len(FIELDS)], now_us), 0.0)
        item, x = vectors(shelf, counts.current[start], reading.facts({}))
        own = expected.user == at
        assert item.tolist() == expected.item[own].tolist()
        np.testing.assert_array_equal(x, expected.x[own])
        n_recent += np.count_nonzero(x[:, RANKER_FEATURES.index("popularity_1d")] > 0)
    assert len(users) > 20
    assert n_recent > 100


def test_the_champion_is_evaluated_as_its_scores_say_and_without_one_nothing_is(ranked: Ranked) -> None:
    client = connect(ranked.settings)
    store = feature_store(ranked.settings)
    client.set_registered_model_alias(MODEL, CHAMPION, ranked.result["version"])
    try:
        assert has_champion(client)
        found = evaluate_ranker(client, ranked.tables, store, DATA, seed=7)
    finally:
        client.delete_registered_model_alias(MODEL, CHAMPION)
    assert not has_champion(client)
    booster = mlflow.xgboost.load_model(f"models:/{MODEL}@{CHALLENGER}")
    expected = day_figures(ranked.data, Ranker(7).scores(booster, ranked.data.x), seed=7)
    assert list(found) == [str(day) for day in EVALUATED_DAYS]
    assert list(expected) == list(EVALUATED_DAYS)
    for day, figures in expected.items():
        said = found[str(day)]
        assert (said["n"], said["n_lost"]) == (figures["n"], figures["n_lost"])
        assert said["ndcg5"] == pytest.approx(figures["ndcg_at_5"])
        assert said["ndcg5_popularity"] == pytest.approx(figures["ndcg_at_5_popularity"])


def test_the_ranker_is_a_registered_challenger_that_says_what_the_reference_says(
    ranked: Ranked, tmp_path: Path
) -> None:
    client = MlflowClient(ranked.settings.mlflow_uri)
    version = client.get_model_version_by_alias(MODEL, CHALLENGER)
    assert (str(version.version), version.run_id) == (ranked.result["version"], ranked.result["run_id"])
    run = client.get_run(version.run_id)
    assert run.data.tags["judged_by"] == ranked.result["judged_by"] == "later_start"
    assert run.data.tags["git_commit"] == commit()
    assert run.data.params["set.sha256"] == ranked.data.description()["sha256"]
    logged = run.data.metrics["later_start/day_7/ndcg_at_5"]
    assert logged == pytest.approx(ranked.result["metrics"]["later_start"]["7"]["ndcg_at_5"])
    folder = Path(client.download_artifacts(version.run_id, "", str(tmp_path)))
    names = json.loads((folder / "features.json").read_text())
    booster = mlflow.xgboost.load_model(f"models:/{MODEL}@{CHALLENGER}")
    assert names == list(RANKER_FEATURES) == booster.feature_names
    reference = pq.read_table(folder / "training_set.parquet")
    assert reference.column_names == [*names, "prediction"]
    assert not [c for c in reference.column_names for a in (*AUDIT_ATTRIBUTES, "user_id", "person") if a in c]
    x = np.column_stack([reference[name].to_numpy() for name in names]).astype(np.float32)
    assert np.allclose(booster.inplace_predict(x), reference["prediction"].to_numpy())


def test_the_ranker_says_more_than_chance_and_its_figures_say_of_how_many(ranked: Ranked) -> None:
    assert set(ranked.result["metrics"]) == {"later_start", "held_out_people"}
    for by_day in ranked.result["metrics"].values():
        assert set(by_day) == {str(day) for day in EVALUATED_DAYS}
        for found in by_day.values():
            assert found["n"] > 20
            assert found["ndcg_at_5_low"] < found["ndcg_at_5"] < found["ndcg_at_5_high"]
            assert found["ndcg_at_5"] > 0.2  # an order by chance: about 0.05


def test_the_ranker_has_all_its_papers(ranked: Ranked, tmp_path: Path) -> None:
    client = MlflowClient(ranked.settings.mlflow_uri)
    folder = Path(client.download_artifacts(ranked.result["run_id"], "", str(tmp_path)))
    assert {f.name for f in folder.iterdir()} >= {
        *("model_card.md", "slices.json", "gates.json", "training_users.parquet", "examined.parquet"),
        *("examined_rows.parquet", "training_set.json"),
    }
    assert {f.name for f in (folder / "plots").iterdir()} == {"ndcg.png", "importance.png", "groups.png"}
    users = pq.read_table(folder / "training_users.parquet").to_pandas()
    assert set(users["user_id"]) == set(ranked.data.groups["user_id"])
    card = (folder / "model_card.md").read_text()
    assert "| ndcg_at_5_popularity |" in card
    assert "10.1038/sdata.2017.171" in card
    slices = json.loads((folder / "slices.json").read_text())
    assert set(slices) == {str(day) for day in EVALUATED_DAYS}
    assert set(slices["7"]) == set(AUDIT_ATTRIBUTES)
    measured = [g for cut in slices["7"].values() for g in cut["groups"].values()]
    assert measured
    assert all(g["ndcg_at_5_low"] < g["ndcg_at_5"] < g["ndcg_at_5_high"] for g in measured)
    assert 0 < ranked.result["latency_ms"] < 1_000
    gates = [v["gate"] for v in json.loads((folder / "gates.json").read_text())["verdicts"]]
    assert gates == ["better than popularity", "better than last day", "fast enough", "small enough"]


def test_the_ranker_trained_alone_from_a_run_comes_out_the_same_and_is_held_against_the_champion(
    ranked: Ranked,
) -> None:
    client = MlflowClient(ranked.settings.mlflow_uri)
    client.set_registered_model_alias(MODEL, CHAMPION, ranked.result["version"])
    try:
        made = made_of(client, ranked.result["run_id"])
        result = train(made.settings(ranked.settings), [made.model], cohorts=made.cohorts)
        said = result["models"][MODEL]
        judged = judge_version(client, MODEL, said["version"])
        own = compare_rankers(client, read_version(client, MODEL, said["version"]), before_all(client, ranked.result))
    finally:
        client.delete_registered_model_alias(MODEL, CHAMPION)
    assert list(result["models"]) == [MODEL]
    assert said["alias"] == CHALLENGER
    compared = made.compared(said)
    assert compared["is_same_set"]
    assert compared["n_metrics"] > 20
    assert compared["max_difference"] == pytest.approx(0.0, abs=1e-9)
    reasons = {v.gate: (v.passed, v.reason) for v in judged.verdicts}
    assert reasons["not worse than champion"][0]
    assert "NDCG@5 +0.0000" in reasons["not worse than champion"][1]
    assert "by the examinations of both" in reasons["not worse than champion"][1]
    assert reasons["gaps do not grow"][0]
    assert own.how.startswith("data after both")
    assert own.low <= own.difference <= own.high


def before_all(client: MlflowClient, result: dict[str, Any]) -> Version:
    """The champion as if it had been trained before the starts, on people that are none of theirs."""
    champion = read_version(client, MODEL, result["version"])
    users = pq.read_table(client.download_artifacts(champion.run_id, "training_users.parquet")).to_pandas()
    run = client.create_run(client.get_run(champion.run_id).info.experiment_id)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"person": users["person"][:1].tolist()}), Path(folder) / TRAINING_USERS)
        client.log_artifact(run.info.run_id, str(Path(folder) / TRAINING_USERS))
    return replace(champion, run_id=run.info.run_id, tags={**champion.tags, "trained_until_us": "0"})


def test_a_set_that_is_not_what_is_expected_stops_the_ranker_before_it_learns(ranked: Ranked) -> None:
    bounds = ranked.settings.home / "strict.yaml"
    text = ranked.settings.training.quality.read_text()
    bounds.write_text(text.replace("opened_share: [0.001, 0.3]", "opened_share: [0.9, 1]"))
    training = ranked.settings.training.model_copy(update={"quality": bounds})
    before = versions(connect(ranked.settings), MODEL)
    with pytest.raises(GateError, match=r"sets_content_ranker: \S+ opened_share: 2 of 2 rows"):
        train(ranked.settings.model_copy(update={"training": training}), [MODEL], cohorts=STARTS)
    assert versions(connect(ranked.settings), MODEL) == before

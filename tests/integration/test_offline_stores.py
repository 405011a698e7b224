"""DuckDB and Spark over one history: the same values for every feature of every model, in the corners of time too.

One slice of the shipped data (20 learners of AAA_2013J, to day 15) is backfilled once.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import FreeSettings
from pyspark.sql import SparkSession

from examples.oulad.history.backfill import backfill_oulad
from examples.oulad.tables import tables as oulad
from examples.oulad.tables.tables import day_end_us
from feature_repo.offline_store import offline_config
from feature_repo.services import model_features, service_name
from feature_repo.store import apply, feature_store
from firstmile.local.process import die_with_parent
from firstmile.setting_sections import ROOT, OfflineSettings
from firstmile.settings import Settings, as_environment
from firstmile.vocabulary import MODELS

pytestmark = pytest.mark.timeout(900)  # Java starts more than once: minutes on a busy machine

P = "AAA_2013J"
N_LEARNERS = 20
DAYS = (3, 14)
NOBODY = f"{P}-0"


@pytest.fixture(scope="module")
def duckdb_settings(redis_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with the slice's history."""
    settings = redis_settings.model_copy(update={"home": tmp_path_factory.mktemp("offline")})
    tables = oulad.read(ROOT / "data" / "oulad", [P])
    ids = pa.array(sorted(tables.registrations["id_student"].to_pylist())[:N_LEARNERS])
    cut = {
        name: getattr(tables, name).filter(pc.is_in(getattr(tables, name)["id_student"], ids))
        for name in ("clicks", "info", "registrations", "hand_ins")
    }
    backfill_oulad(settings, replace(tables, **cut), days=(None, 15), workers=1)
    return settings


@pytest.fixture(scope="module")
def spark_settings(duckdb_settings: Settings) -> Iterator[Settings]:
    """The same home, read by Spark."""
    yield duckdb_settings.model_copy(update={"offline": OfflineSettings(store="spark")})
    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


def entities(settings: Settings) -> pd.DataFrame:
    """Everybody at the ends of some days; at, just before and just after a row's very time; and nobody."""
    files = (settings.history / "user_activity").glob("*.parquet")
    rows = pa.concat_tables(pq.read_table(f, columns=["user_id", "event_timestamp"]) for f in files).to_pandas()
    users = sorted(rows["user_id"].unique())
    pairs = [(user, day_end_us(P, day)) for user in [*users, NOBODY] for day in DAYS]
    exact = rows.groupby("user_id").nth(1).head(10)
    known_us = exact["event_timestamp"].astype("datetime64[us, UTC]").astype(np.int64)
    pairs += [(u, t + d) for u, t in zip(exact["user_id"], known_us, strict=True) for d in (-1, 0, 1)]
    first = rows.groupby("user_id")["event_timestamp"].min().astype("datetime64[us, UTC]").astype(np.int64)
    pairs += [(user, int(first[user]) - 1) for user in users[:5]]
    frame = pd.DataFrame(pairs, columns=["user_id", "now_us"])
    return frame.assign(event_timestamp=pd.to_datetime(frame["now_us"], unit="us", utc=True))


def retrieved(settings: Settings) -> dict[str, pd.DataFrame]:
    """By model; models whose services name the same features share a retrieval, as in training."""
    store, asked, found = apply(settings), entities(settings), {}
    for model in MODELS:
        service = store.get_feature_service(service_name(model))
        wanted = str([(p.name, [f.name for f in p.features]) for p in service.feature_view_projections])
        if wanted not in found:
            found[wanted] = store.get_historical_features(asked, service).to_df().set_index(["user_id", "now_us"])
            assert len(found[wanted]) == len(asked)
        found[model] = found[wanted].sort_index()[["activity", *model_features(model)]]
    return {model: found[model] for model in MODELS}


@pytest.mark.slow
def test_every_feature_of_every_model_is_the_same(duckdb_settings: Settings, spark_settings: Settings) -> None:
    from_duckdb = retrieved(duckdb_settings)
    from_spark = retrieved(spark_settings)  # the same registry, turned over to the other store
    for model in MODELS:
        duck, spark, numbers = from_duckdb[model], from_spark[model], model_features(model)
        pd.testing.assert_frame_equal(spark[numbers].astype(float), duck[numbers].astype(float))
        packed = [[None if pd.isna(v) else bytes(v) for v in frame["activity"]] for frame in (duck, spark)]
        assert packed[0] == packed[1]
    some = from_duckdb["activation"]
    assert some.loc[NOBODY, "activity"].isna().all()
    assert some["events_total_count"].max() > 50
    exact = some[some["activity"].notna()].groupby(level="user_id")["events_total_count"].nunique()
    assert exact.max() >= 3  # the instants tell rows apart


@pytest.mark.slow
def test_the_feast_command_follows_the_setting(redis_settings: Settings, tmp_path: Path) -> None:
    home = redis_settings.model_copy(update={"home": tmp_path})
    for store, kind in (("spark", "SparkSource"), ("duckdb", "FileSource")):
        settings = home.model_copy(update={"offline": OfflineSettings(store=store)})
        done = subprocess.run(
            [str(Path(sys.executable).with_name("feast")), "-c", str(ROOT / "feature_repo"), "apply"],
            env={**os.environ, **as_environment(settings)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            preexec_fn=die_with_parent(),
        )
        assert done.returncode == 0, done.stderr[-3000:]
        sources = feature_store(settings).list_data_sources()
        assert {type(s).__name__ for s in sources if s.name.endswith("_history")} == {kind}


def test_the_default_is_duckdb(free_settings: FreeSettings) -> None:
    assert offline_config(free_settings()) == {"type": "duckdb"}

"""A past of years ago comes in from files and is learned from at its own time; live events go on from it."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from demo_product import EVENTS, with_labels
from product_builder import Product, made_product

from feature_repo.online_store import connect
from feature_repo.reader import OnlineReader
from feature_repo.store import apply
from firstmile.clock import to_datetime, to_us
from firstmile.names import USER_ACTIONS
from firstmile.settings import Settings
from pipelines.backfill_lake import backfill_lake
from pipelines.clean import clean, read_mapping
from pipelines.import_past import import_events
from pipelines.lake import Lake
from pipelines.rows import Changes, apply_changes, read_users
from training.material import material
from training.quality import QualityGate

LABELS = """
activation:
  reached: {events: [Project Created]}
  within_days: 28
"""
N_USERS = 150
ENDS_US = to_us(datetime(2016, 5, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def product() -> Product:
    return made_product(N_USERS, ends_us=ENDS_US)


@pytest.fixture(scope="module")
def settings(stack: Settings, product: Product, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("past")
    own = with_labels(stack.model_copy(update={"home": home}), home, LABELS)
    with (home / "past.jsonl").open("w") as out:
        for row in product.events.itertuples():
            at = to_datetime(row.event_us).isoformat()
            call = {"type": "track", "userId": row.user_id, "event": row.name, "timestamp": at}
            if row.name == "Signed Up":
                out.write(json.dumps({**call, "type": "identify", "traits": {"plan": "pro"}}) + "\n")
            out.write(json.dumps(call) + "\n")
        out.write('{"type": "track", "userId": "p0", "event": "x"}\n')
    found = import_events(own, [home / "past.jsonl"], history=False)
    assert found["n_refused"] == {"no_time": 1}
    assert found["to"].startswith("2016-04-30")
    backfill_lake(own)
    return own


def test_every_labelled_user_has_a_row_at_the_time_asked_about(settings: Settings, product: Product) -> None:
    made = material(settings, ["activation"], gate := QualityGate(settings))
    data = gate.plausible(made.sets, None).sets["activation"]
    gate.check_sets({"activation": data})  # an imported lake is not a silent one
    assert data.users["user_id"].nunique() > N_USERS * 0.9
    assert sum(counts["left_out:no row in the history"] for counts in data.counts.values()) == 0
    opened = product.events[product.events["name"] == "Content Opened"]
    counted = data.rows.x[:, data.features.index("clicks_total_count")]
    for user, now_us, count in zip(data.users["user_id"], data.users["now_us"], counted, strict=True):
        assert count == ((opened["user_id"] == user) & (opened["event_us"] <= now_us)).sum()
    ages = data.rows.x[:, data.features.index("onboarding_age_days")]
    assert np.allclose(ages, data.users["day"] + 1, atol=1e-3)


def test_the_same_file_again_changes_nothing(settings: Settings) -> None:
    n_before = Lake(settings.lake).read().num_rows
    renamed = shutil.copy(settings.home / "past.jsonl", settings.home / "other.jsonl")
    assert import_events(settings, [Path(renamed)], history=False) == {"was_imported_before": True}
    assert Lake(settings.lake).read().num_rows == n_before


def test_profiles_of_the_past_are_in_the_history_whole(settings: Settings) -> None:
    profiles = pd.read_parquet(settings.history / "user_profile" / "lake.parquet")
    assert profiles["user_id"].nunique() == N_USERS
    assert set(profiles["plan"]) == {"pro"}
    assert profiles["event_timestamp"].max() < pd.Timestamp("2016-05-01", tz="UTC")


def test_live_events_of_the_same_users_go_on_from_there(settings: Settings, product: Product) -> None:
    client = connect(settings.redis_url, timeout_s=5)
    apply(settings).materialize(datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC), ["user_activity", "user_profile"])
    user = product.events["user_id"].value_counts().index[0]
    n_opened = int(((product.events["user_id"] == user) & (product.events["name"] == "Content Opened")).sum())
    now_us = to_us(datetime(2016, 5, 2, tzinfo=UTC))
    live = {"message_id": "live", "user_id": user, "name": "Content Opened", "event_us": now_us, "received_us": now_us}
    rest = {"weight": 1, "content_id": None, "format": None, "page": None, "step": None, "onboarding_us": None}
    kafka = {"topic": USER_ACTIONS, "topic_id": "t", "partition": 0, "offset": 0}
    changes = Changes(clean(pd.DataFrame([{**live, **rest, **kafka}]), read_mapping(EVENTS)), {}, {})
    apply_changes(client, changes, read_users(client, [user]), on_conflict=lambda: None)
    found = OnlineReader(settings).read(user, now_us)
    assert found is not None
    assert found.values["clicks_total_count"] == n_opened + 1
    assert found.profile["plan"] == "pro"

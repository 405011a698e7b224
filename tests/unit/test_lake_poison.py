"""No property of an event stops a job that reads the lake."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from product_builder import MAP, made_product, write_product

from firstmile.names import CONTEXT, PROFILES, USER_ACTIONS
from firstmile.settings import Settings
from pipelines.backfill_lake import backfill_lake
from training.lake_events import product_events
from training.quality_lake import lake_files

T0 = 1_795_650_000_000_000
PLACES = ("onboarding_at", "content_id", "format", "page", "step", "field", "target", "email", "internal", "device")
TRAITS = ("plan", "prior_attempts", "studied_credits", "profile_updated_us", "profile_times", "*")
ODD = (
    "²",
    "٣",
    "1795650000000",
    "9" * 30,
    "-1",
    "nan",
    "inf",
    "1e400",
    "",
    "\x00",
    "\u2028",
    "🚀" * 300,
    "[]",
    '{"a":1}',
)
PROPERTIES = st.lists(
    st.dictionaries(st.sampled_from((*PLACES, *TRAITS)), st.sampled_from(ODD) | st.text(max_size=8)),
    min_size=1,
    max_size=9,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("poison")
    write_product(Settings(home=made), made_product(3, ends_us=T0))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=PROPERTIES, seed=st.integers(0, 99))
def test_whatever_properties_say_the_lake_folds_and_labels_read_it(
    home: Path, said: list[dict[str, str]], seed: int
) -> None:
    own = Settings(home=home)
    (file,) = (own.lake / "events").glob("*.parquet")
    table = pq.read_table(file)
    rng = np.random.default_rng(seed)
    maps = pa.array([list(said[i % len(said)].items()) for i in range(table.num_rows)], MAP)
    topics = rng.choice([USER_ACTIONS, CONTEXT, PROFILES], table.num_rows).tolist()
    for name, column in (("properties", maps), ("profile", maps), ("source_topic", pa.array(topics))):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    versions = pa.array(rng.choice([T0, 1, -5], table.num_rows), pa.int64())
    table = table.set_column(table.schema.get_field_index("profile_version"), "profile_version", versions)
    pq.write_table(table, file)
    written = backfill_lake(own)
    n_events = sum(topic != PROFILES for topic in topics)
    n_left_out = sum(n for name, n in written.items() if name.startswith("n_dropped_"))
    assert written["n_events"] == n_events - n_left_out
    for view in ("user_profile", "user_context"):
        rows = pq.read_table(own.history / view / "lake.parquet").select(["user_id", "event_timestamp"]).to_pylist()
        assert len({tuple(row.values()) for row in rows}) == len(rows)
    assert set(product_events(lake_files(own.lake))["user_id"]) <= {"p0", "p1", "p2", "nobody"}

"""Importing profiles: traits into a real Kafka, audit attributes into the offline history and nowhere else."""

import uuid
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka_reading import end_offsets, records_since

from examples.oulad.events.profiles_import import read_oulad
from firstmile.clock import SystemClock
from firstmile.errors import DataError, DependencyError
from firstmile.names import PROFILES, STREAM_TOPICS
from firstmile.setting_sections import KafkaSettings
from firstmile.settings import Settings
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from pipelines.profiles import import_profiles, read_crm

DATA = Path(__file__).parents[2] / "data" / "oulad"


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Settings:
    return stack.model_copy(update={"home": tmp_path / "home"})


def test_oulad_profiles_reach_kafka_without_audit_attributes(settings: Settings) -> None:
    before = end_offsets(settings, STREAM_TOPICS)
    result = import_profiles(settings, read_oulad(DATA, ["AAA_2013J", "AAA_2014J"]), source=DATA)
    found = records_since(settings, before)
    assert result["profiles"] == result["audit_rows"] == len(found) == 748
    assert {topic for topic, _, _ in found} == {PROFILES}
    for _, key, record in found:
        assert key == record["user_id"]
        assert set(record["traits"]) == {"product", "cohort", "prior_attempts", "studied_credits"}


def test_oulad_audit_attributes_become_history_of_text(settings: Settings) -> None:
    import_profiles(settings, read_oulad(DATA, ["AAA_2013J"]), source=DATA)
    history = pq.read_table(settings.history / "user_audit" / "oulad-AAA_2013J.parquet")
    assert history.column_names == ["user_id", "event_timestamp", *AUDIT_ATTRIBUTES]
    assert history.schema.field("event_timestamp").type == pa.timestamp("us", tz="UTC")
    assert all(history.schema.field(name).type == pa.string() for name in AUDIT_ATTRIBUTES)
    assert history.num_rows == 383
    (row,) = [r for r in history.to_pylist() if r["user_id"] == "AAA_2013J-11391"]
    assert (row["gender"], row["region"], row["age_band"]) == ("M", "East Anglian Region", "55<=")


def test_bad_rows_of_an_export_are_counted_listed_and_do_not_stop_the_good(settings: Settings, tmp_path: Path) -> None:
    user = f"u-{uuid.uuid4()}"
    export = tmp_path / "crm.csv"
    export.write_text(f"user_id,plan,gender\n{user},pro,F\n,free,M\n{user}x,free\n")
    before = end_offsets(settings, (PROFILES,))
    result = import_profiles(settings, read_crm(export, now_us=SystemClock().now_us()), source=export)
    assert [(r["user_id"], r["traits"]) for _, _, r in records_since(settings, before)] == [(user, {"plan": "pro"})]
    assert (result["profiles"], result["audit_rows"], result["n_bad"]) == (1, 1, 2)
    assert [b["line"] for b in result["bad"]] == [3, 4]
    listed = Path(result["bad_rows_file"]).read_bytes().splitlines()
    assert [orjson.loads(line) for line in listed] == result["bad"]
    (history,) = (settings.history / "user_audit").glob("crm-crm-*.parquet")
    assert pq.read_table(history)["gender"].to_pylist() == ["F"]


def test_an_export_without_a_good_row_is_refused(settings: Settings, tmp_path: Path) -> None:
    export = tmp_path / "crm.csv"
    export.write_text("user_id,plan\n,pro\n")
    with pytest.raises(DataError, match="has no row to import, 1 bad ones; line 2: user_id is empty"):
        import_profiles(settings, read_crm(export, now_us=SystemClock().now_us()), source=export)


def test_kafka_away_writes_no_history(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1", timeout_s=1))
    with pytest.raises(DependencyError, match="Kafka at"):
        import_profiles(settings, read_oulad(DATA, ["AAA_2013J"]), source=DATA)
    assert not settings.history.exists()

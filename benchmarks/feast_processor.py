"""Feast's own SparkKafkaProcessor on the same events, as a process: the yardstick of freshness.py.

It casts a record to text before it decodes it, which Avro does not survive, so it is given JSON; it keeps the newest
event of a user and nothing else. Its checkpoint is always /tmp/checkpoint.
"""

import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, Field, FileSource, StreamFeatureView
from feast.data_format import JsonFormat
from feast.data_source import KafkaSource
from feast.infra.contrib.spark_kafka_processor import SparkKafkaProcessor, SparkProcessorConfig
from feast.repo_config import RepoConfig
from feast.types import Int64, String

from firstmile.settings import Settings, load_settings
from pipelines.spark import spark_session

TOPIC, VIEW = "benchmark.json", "latest_event"
CHECKPOINT = Path("/tmp/checkpoint")
NO_EVENTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        ("name", pa.string()),
        ("weight", pa.int64()),
    ]
)
JSON_SCHEMA = "user_id string, event_timestamp timestamp, name string, weight bigint, properties map<string,string>"


def store(settings: Settings) -> FeatureStore:
    """Feast's plain Redis store under the same settings."""
    folder = settings.home / "feast-processor"
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "project": "processor",
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "redis", "connection_string": f"127.0.0.1:{settings.local.redis_port}"},
        "entity_key_serialization_version": 3,
    }
    return FeatureStore(config=RepoConfig(repo_path=folder, **config))


def view(settings: Settings) -> tuple[Entity, StreamFeatureView]:
    """The newest event of each user."""
    user = Entity(name="user", join_keys=["user_id"])
    source = KafkaSource(
        name="events",
        kafka_bootstrap_servers=settings.kafka_servers,
        topic=TOPIC,
        timestamp_field="event_timestamp",
        message_format=JsonFormat(schema_json=JSON_SCHEMA),
        batch_source=FileSource(path=str(settings.home / "none.parquet"), timestamp_field="event_timestamp"),
    )
    fields = [Field(name="name", dtype=String), Field(name="weight", dtype=Int64)]
    return user, StreamFeatureView(
        name=VIEW,
        entities=[user],
        ttl=timedelta(0),
        schema=fields,
        source=source,
        timestamp_field="event_timestamp",
        mode="spark",
        udf=_as_it_is,
        udf_string="",
    )


def _as_it_is(frame: Any) -> Any:
    return frame.select("user_id", "event_timestamp", "name", "weight")


def main() -> None:
    """Run until ended."""
    settings = load_settings()
    shutil.rmtree(CHECKPOINT, ignore_errors=True)
    session = spark_session(settings, "feast-processor")  # before Feast makes one, without our jars
    fs = store(settings)
    pq.write_table(NO_EVENTS.empty_table(), settings.home / "none.parquet")  # Feast looks at it when it registers
    fs.apply(list(view(settings)))
    config = SparkProcessorConfig(
        mode="spark",
        source="kafka",
        spark_session=session,
        processing_time="0 seconds",
        query_timeout=None,
    )
    options = {"startingOffsets": "earliest"}
    processor = SparkKafkaProcessor(fs=fs, sfv=view(settings)[1], config=config, stream_source_options=options)
    sys.stdout.write("ready: \n")
    sys.stdout.flush()
    processor.ingest_stream_feature_view()


if __name__ == "__main__":
    main()

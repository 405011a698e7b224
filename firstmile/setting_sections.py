"""What each part may be told: one frozen section of the settings per part."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the packages: the repository, when installed from it."""


class Section(BaseModel):
    """Frozen; a name it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LocalSettings(Section):
    """The embedded stack: its ports on loopback, memory, and where its jars come from."""

    java: str = Field("java", min_length=1, description="the Java 17 to run Kafka and the registry with")
    maven_url: str = Field("https://repo1.maven.org/maven2/", description="Maven Central, or a mirror of it")
    kafka_port: int = Field(19092, ge=1, le=65535)
    kafka_controller_port: int = Field(19093, ge=1, le=65535)
    registry_port: int = Field(18081, ge=1, le=65535)
    registry_management_port: int = Field(18082, ge=1, le=65535)
    redis_port: int = Field(16379, ge=1, le=65535)
    mlflow_port: int = Field(15000, ge=1, le=65535)
    kafka_heap_mb: int = Field(512, ge=128)
    min_memory_mb: int = Field(4096, ge=0)
    start_timeout_s: float = Field(90.0, gt=0)


class KafkaSettings(Section):
    """Where Kafka is and how its topics are made."""

    bootstrap_servers: str = ""
    partitions: int = Field(2, ge=1)
    replication: int = Field(1, ge=1)
    retention_hours: int = Field(7 * 24, ge=1)
    timeout_s: float = Field(10.0, gt=0)


class RegistrySettings(Section):
    """Confluent-compatible schema registry."""

    url: str = ""
    timeout_s: float = Field(10.0, gt=0)


class RedisSettings(Section):
    """The online store."""

    url: SecretStr = SecretStr("")
    timeout_s: float = Field(2.0, gt=0)


class MlflowSettings(Section):
    """Tracking server and model registry."""

    tracking_uri: str = ""
    experiment: str = "firstmile"


class CollectorSettings(Section):
    """The HTTP tracking API."""

    host: str = "127.0.0.1"
    port: int = Field(18088, ge=1, le=65535)
    write_key: SecretStr = Field(
        SecretStr("demo-write-key"), description="a secret key besides those of the file serving.keys; empty: none"
    )
    max_body_bytes: int = Field(512_000, ge=1_000)
    max_batch_events: int = Field(500, ge=1)
    body_timeout_ms: float = Field(
        8_000.0, gt=0, description="for a body to arrive: 30 times the decision API's, by a phone's network"
    )
    max_connections: int = Field(4_096, ge=1, description="open at once; more are closed at once")
    key_requests_per_s: float = Field(2_000.0, ge=0, description="sustained, per key; 0: no limit")
    address_requests_per_s: float = Field(
        100.0, ge=0, description="per address, of publishable keys and keys in bodies; 0: no limit"
    )


class StreamSettings(Section):
    """Events to features."""

    master: str = "local[2]"
    driver_memory: str = "1g"
    # Java's second compiler takes longer to warm up than a demo lasts; a long backlog may gain: docs/operations.md.
    java_options: str = Field("-XX:TieredStopAtLevel=1", description="of the driver's Java")
    shuffle_partitions: int = Field(2, ge=1)
    processes: int = Field(0, ge=0, description="sharing a batch's Python; 0: one per core and partition, at most 4")
    max_offsets_per_trigger: int = Field(100_000, ge=1)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535, description="of the stream; 0: no Prometheus endpoint")
    archive_metrics_port: int = Field(0, ge=0, le=65535, description="of the archive; 0: no Prometheus endpoint")
    archive_interval_s: float = Field(60.0, gt=0)


class OfflineSettings(Section):
    """Who reads the offline history; after a change, `feast -c feature_repo apply` registers the sources anew."""

    store: Literal["duckdb", "spark"] = Field("duckdb", description="Feast's offline store; spark for large histories")


class ServingSettings(Section):
    """The decision API."""

    host: str = "127.0.0.1"
    port: int = Field(18080, ge=1, le=65535)
    api_key: SecretStr = Field(SecretStr("demo-api-key"), description="a secret key besides the file's; empty: none")
    keys: str = Field("", description="YAML file of both APIs' keys; empty: keys.yaml in the home, if it is there")
    identity_secret: SecretStr = Field(SecretStr(""), description="proves users to both APIs, with the file's")
    cors_origins: str = Field("", description="pages that may ask: https://app.example.com,…; empty: none")
    budget_ms: float = Field(200.0, gt=0, description="from arrival to the last byte")
    feature_timeout_ms: float = Field(100.0, gt=0)
    model_timeout_ms: float = Field(60.0, gt=0)
    lag_budget_ms: float = Field(60_000.0, gt=0, description="pipeline lag past which activity is not trusted")
    model_poll_s: float = Field(5.0, gt=0)
    model_wait_s: float = Field(10.0, ge=0, description="how long a start waits for MLflow's first word")
    model_row_ms: float = Field(20.0, gt=0, description="a version that takes longer for one row is refused")
    policy_poll_s: float = Field(1.0, gt=0, description="between two looks at rules, content and experiments")
    content_poll_s: float = Field(5.0, gt=0, description="between two readings of the content statistics")
    workers: int = Field(1, ge=1, description="processes answering; each holds its own models")
    threads: int = Field(4, ge=1, description="per worker and stage: models too slow for the loop, ranker")
    max_body_bytes: int = Field(16_384, ge=256)
    body_timeout_ms: float = Field(2_000.0, gt=0, description="for a body to arrive, before the budget begins")
    max_connections: int = Field(4_096, ge=1, description="open at once, per worker; more are closed at once")
    max_in_flight: int = Field(8, ge=1, description="per worker; past it, answers are shed to the default flow")
    max_lag_ms: float = Field(60.0, gt=0, description="of the event loop, likewise")
    traces_url: str = Field("", description="OTLP/HTTP address that decisions are traced to; empty: none")
    watchdog_s: float = Field(1.0, ge=0, description="a worker whose loop is blocked for longer is ended; 0: none")
    # Each worker process counts for itself: N of them, over all replicas, let up to N times as much through.
    user_requests_per_s: float = Field(100.0, ge=0, description="per user and worker process; 0: no limit")
    key_requests_per_s: float = Field(2_000.0, ge=0, description="per API key and worker process; 0: no limit")
    address_requests_per_s: float = Field(
        100.0, ge=0, description="per address and worker process, of publishable keys; 0: no limit"
    )
    cache_users: int = Field(5_000, ge=0, description="last decisions kept per worker")
    cache_max_age_s: float = Field(600.0, ge=0)
    log_queue: int = Field(10_000, ge=1, description="decisions waiting in memory, per worker; more: dropped, counted")
    log_spool_mb: int = Field(256, ge=1, description="decisions waiting for Kafka on disk, per worker, 5 kB each")


class TrainingSettings(Section):
    """Models and their gates."""

    seed: int = 7
    threads: int = Field(2, ge=1)
    retrain_cron: str = Field("0 3 * * sun", description="of `retrain --watch`, UTC, as cron(5) reads it")
    quality: Path = Field(ROOT / "training" / "quality.yaml", description="what data must hold to be learned from")

    @field_validator("quality")
    @classmethod
    def _absolute(cls, file: Path) -> Path:
        return file.expanduser().absolute()


class LearningSettings(Section):
    """Online learning from the decision log."""

    window_s: float = Field(1_800.0, gt=0, description="after a decision, in which an open counts as its outcome")
    lateness_s: float = Field(600.0, ge=0, description="how much later than it happened an open may be received")
    max_open: int = Field(50_000, ge=1, description="decisions waiting for their window to close, 1.5 kB each")
    max_opens: int = Field(200_000, ge=1, description="content opens kept for decisions, 0.5 kB each")
    max_seen: int = Field(200_000, ge=0, description="closed decisions remembered, so that a repeat is known as one")
    figures_window: int = Field(1_000, ge=10, description="examples that quality is measured over")
    snapshot_s: float = Field(30.0, ge=0, description="between two snapshots; 42 MB in 1.2 s with both caps reached")
    register_s: float = Field(1_800.0, ge=0, description="between two versions in MLflow; 0: none")
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535, description="0: no Prometheus endpoint")


class MonitoringSettings(Section):
    """Reports and their browser."""

    ui_port: int = Field(18000, ge=1, le=65535)
    min_decisions: int = Field(20, ge=1)
    max_decisions: int = Field(100_000, ge=1, description="the newest of the decision log that one run looks at")
    retrain_drift_share: float = Field(
        0.5, ge=0, le=1, description="of a champion's columns: from so many drifted on, a signal to retrain; 0: never"
    )

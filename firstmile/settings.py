"""All settings of all processes: one frozen object, read from the environment once, in main().

`FIRSTMILE_KAFKA__BOOTSTRAP_SERVERS=broker:9092` sets `settings.kafka.bootstrap_servers`. An address left empty means
the embedded part, at the port under `local`.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from firstmile.errors import SettingsError, unknown_name
from firstmile.product import ProductFile, current_product, product_file
from firstmile.setting_sections import (
    ROOT,
    CollectorSettings,
    KafkaSettings,
    LearningSettings,
    LocalSettings,
    MlflowSettings,
    MonitoringSettings,
    OfflineSettings,
    RedisSettings,
    RegistrySettings,
    ServingSettings,
    StreamSettings,
    TrainingSettings,
)

PREFIX = "FIRSTMILE_"

Part = Literal["kafka", "registry", "redis", "mlflow"]
PARTS: tuple[Part, ...] = ("kafka", "registry", "redis", "mlflow")


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class Settings(BaseSettings):
    """Everything a process may be told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", validate_default=True
    )

    home: Path = ROOT / ".firstmile"
    product: Path = Field(
        default_factory=current_product, description="folder of the product's files: see firstmile/product.py"
    )
    cache: Path = Field(
        default_factory=lambda: _user_cache() / "firstmile", description="downloads, shared by all homes"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    local: LocalSettings = LocalSettings()
    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    redis: RedisSettings = RedisSettings()
    mlflow: MlflowSettings = MlflowSettings()
    collector: CollectorSettings = CollectorSettings()
    stream: StreamSettings = StreamSettings()
    offline: OfflineSettings = OfflineSettings()
    serving: ServingSettings = ServingSettings()
    training: TrainingSettings = TrainingSettings()
    learning: LearningSettings = LearningSettings()
    monitoring: MonitoringSettings = MonitoringSettings()

    @field_validator("home", "cache", "product")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return folder.expanduser().absolute()

    @property
    def kafka_servers(self) -> str:
        """Kafka's bootstrap servers, `host:port,…`."""
        return self.kafka.bootstrap_servers or f"127.0.0.1:{self.local.kafka_port}"

    @property
    def registry_url(self) -> str:
        """Base address of the registry's Confluent-compatible API."""
        return self.registry.url or f"http://127.0.0.1:{self.local.registry_port}/apis/ccompat/v7"

    @property
    def redis_url(self) -> str:
        """`redis://…`; may hold a password: never log it."""
        return self.redis.url.get_secret_value() or f"redis://127.0.0.1:{self.local.redis_port}/0"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking address."""
        return self.mlflow.tracking_uri or f"http://127.0.0.1:{self.local.mlflow_port}"

    def is_embedded(self, part: Part) -> bool:
        """Whether `firstmile up` runs this part itself, because no address was given for it."""
        given = {
            "kafka": self.kafka.bootstrap_servers,
            "registry": self.registry.url,
            "redis": self.redis.url.get_secret_value(),
            "mlflow": self.mlflow.tracking_uri,
        }
        return not given[part]

    def product_file(self, name: ProductFile) -> Path:
        """One of the product's files; it need not be there."""
        return product_file(self.product, name)

    @property
    def logs(self) -> Path:
        """Folder of one log file per process."""
        return self.home / "logs"

    @property
    def history(self) -> Path:
        """Folder of the Feast offline store: one folder of Parquet files per view."""
        return self.home / "history"

    @property
    def lake(self) -> Path:
        """Folder of the event lake: Parquet files and their manifest."""
        return self.home / "lake"

    @property
    def content(self) -> Path:
        """Folder of the content statistics' day tiles, and of the events from files they are made of."""
        return self.home / "content"

    @property
    def checkpoints(self) -> Path:
        """Folder of Spark's checkpoints."""
        return self.home / "checkpoints"

    @property
    def learning_folder(self) -> Path:
        """Folder of the online learner's snapshot."""
        return self.home / "learning"

    @property
    def reports(self) -> Path:
        """Folder of the monitoring reports."""
        return self.home / "reports"


def load_settings() -> Settings:
    """Settings from the environment.

    Raises SettingsError for an unknown name or a value out of range.
    """
    fields = {name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable[len(PREFIX) :].split("__")[0] not in fields:
            raise SettingsError(unknown_name("setting", variable, (PREFIX + f for f in fields)))
    try:
        return Settings()
    except ValidationError as error:
        lines = "; ".join(f"{PREFIX}{'__'.join(str(p).upper() for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"settings refused: {lines}") from None


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that make another process see these settings; holds secrets.

    >>> as_environment(Settings(home=Path("/tmp/x")))["FIRSTMILE_HOME"]
    '/tmp/x'
    """
    variables: dict[str, str] = {}
    for name, value in settings:
        for key, inner in value if isinstance(value, BaseModel) else [("", value)]:
            text = inner.get_secret_value() if isinstance(inner, SecretStr) else str(inner)
            variables[PREFIX + (f"{name}__{key}" if key else name).upper()] = text
    return variables

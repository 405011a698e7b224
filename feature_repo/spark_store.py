"""Feast's Spark offline store on our history, with a session like the stream's."""

from pathlib import Path

from feast import RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkOfflineStore, SparkOfflineStoreConfig
from pydantic import Field

from feature_repo.offline_store import spark_conf
from firstmile.settings import load_settings


class SparkHistoryOfflineStoreConfig(SparkOfflineStoreConfig):  # type: ignore[misc]
    """Config; the session comes from Firstmile's settings."""

    type: str = "feature_repo.spark_store.SparkHistoryOfflineStore"
    spark_conf: dict[str, str] | None = Field(default_factory=lambda: spark_conf(load_settings()))


class SparkHistoryOfflineStore(SparkOfflineStore):  # type: ignore[misc]
    """Feast's own; Feast looks for a store beside its configuration."""

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """Look at the history's columns if there is one yet: `feast apply` may come before the backfill."""
        if any(Path(data_source.path).glob("*.parquet")):
            super().validate_data_source(config, data_source)

"""Where the offline history of each view lies: Parquet files, one folder a view, under the settings' home."""

from feast import FileSource, RequestSource
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.field import Field
from feast.types import Int64

from firstmile.settings import Settings

EVENT_TIMESTAMP = "event_timestamp"


def history_source(settings: Settings, view: str) -> DataSource:
    """The Parquet files of a view's history; `event_timestamp` is when a row was known, not when it happened.

    The same files under every setting of the offline store, said in its own way.
    """
    name, path = f"{view}_history", str(settings.history / view)
    if settings.offline.store == "spark":
        from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

        return SparkSource(name=name, path=path, file_format="parquet", timestamp_field=EVENT_TIMESTAMP)
    return FileSource(
        name=name,
        path=path,
        file_format=ParquetFormat(),
        timestamp_field=EVENT_TIMESTAMP,
    )


instant = RequestSource(
    name="instant",
    schema=[Field(name="now_us", dtype=Int64)],
    description="The instant asked about, µs since epoch UTC",
)

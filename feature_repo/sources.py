"""Where the offline history of each view lies: Parquet files, one folder a view, under the settings' home."""

from feast import FileSource, RequestSource
from feast.data_format import ParquetFormat
from feast.field import Field
from feast.types import Int64

from firstmile.settings import Settings

EVENT_TIMESTAMP = "event_timestamp"


def history_source(settings: Settings, view: str) -> FileSource:
    """The Parquet files of a view's history; `event_timestamp` is when a row was known, not when it happened."""
    return FileSource(
        name=f"{view}_history",
        path=str(settings.history / view),
        file_format=ParquetFormat(),
        timestamp_field=EVENT_TIMESTAMP,
    )


instant = RequestSource(
    name="instant",
    schema=[Field(name="now_us", dtype=Int64)],
    description="The instant asked about, µs since epoch UTC",
)

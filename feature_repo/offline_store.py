"""Which of Feast's offline stores reads the history: `settings.offline.store`, for the `feast` command.

`feature_store.yaml` names `HistoryOfflineStore` here; the name gives DuckDB's store or Spark's, and neither is loaded
before it is asked for: Spark's needs pyspark.
"""

from functools import cache
from typing import Any, Final

from firstmile.errors import SettingsError
from firstmile.settings import Settings, load_settings

_CHOSEN: Final = ("HistoryOfflineStore", "HistoryOfflineStoreConfig")


def offline_config(settings: Settings) -> dict[str, Any]:
    """The section `offline_store` of a Feast configuration under these settings.

    >>> offline_config(Settings())
    {'type': 'duckdb'}
    """
    if settings.offline.store == "duckdb":
        return {"type": "duckdb"}
    return {"type": "feature_repo.spark_store.SparkHistoryOfflineStore", "spark_conf": spark_conf(settings)}


def spark_conf(settings: Settings) -> dict[str, str]:
    """The session's configuration: the stream's master and memory, UTC, nothing that listens beyond loopback."""
    conf = {
        "spark.app.name": "firstmile-history",
        "spark.master": settings.stream.master,
        "spark.driver.memory": settings.stream.driver_memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.stream.shuffle_partitions),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
    }
    if settings.stream.master.startswith("local"):
        conf["spark.driver.host"] = "127.0.0.1"
    return conf


def __getattr__(name: str) -> Any:
    """The store and its configuration under the settings of the environment.

    Raises SettingsError when Spark is asked for and not installed.
    """
    if name not in _CHOSEN:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return _made(name, load_settings().offline.store)


@cache
def _made(name: str, store: str) -> Any:
    """A class of this name: Feast asks whether a configuration's own name is among its bases, and looks for a store of
    that name beside it."""
    if store == "duckdb":
        from feast.infra.offline_stores import duckdb

        base = getattr(duckdb, name.replace("History", "DuckDB"))
    else:
        base = getattr(_spark_store(), name.replace("History", "SparkHistory"))
    body: dict[str, Any] = {"__module__": __name__}
    if name.endswith("Config"):
        body |= {"__annotations__": {"type": str}, "type": f"{__name__}.HistoryOfflineStore"}
    return type(base)(name, (base,), body)


def _spark_store() -> Any:
    try:
        from feature_repo import spark_store
    except ImportError as error:
        raise SettingsError(
            f"FIRSTMILE_OFFLINE__STORE=spark needs pyspark, which does not load: {error}; install the extra `stream`, "
            "or set it to duckdb"
        ) from error
    return spark_store

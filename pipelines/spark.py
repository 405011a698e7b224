"""The Spark session of the stream and the archive."""

import logging
import os

from pyspark.sql import SparkSession

from firstmile.local.jars import local_files_jar, spark_jars
from firstmile.settings import Settings

_LOCAL_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
"""Spark's other manager asks a process of its own about every name it touches: 16 in each batch, 80 ms."""

_BARE_FILES = "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem"
"""Hadoop's own starts a `chmod` for every file it makes: four in each batch."""


def spark_session(settings: Settings, name: str) -> SparkSession:
    """A session on the settings' master, with the Kafka and Avro connectors."""
    builder = (
        SparkSession.Builder()
        .appName(f"firstmile-{name}")
        .master(settings.stream.master)
        .config("spark.jars", ",".join(str(jar) for jar in spark_jars(settings)))
        .config("spark.driver.memory", settings.stream.driver_memory)
        .config("spark.driver.extraJavaOptions", settings.stream.java_options)
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", settings.stream.shuffle_partitions)
        .config("spark.sql.streaming.noDataMicroBatches.enabled", "false")
        .config("spark.sql.streaming.pollingDelay", "1ms")
        .config("spark.sql.streaming.stopTimeout", "20s")
        .config("spark.sql.streaming.checkpointFileManagerClass", _LOCAL_FILES)
        .config("spark.sql.ui.explainMode", "simple")  # nobody reads it, and it is written out for every batch
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
    )
    if settings.stream.master.startswith("local"):
        builder = builder.config("spark.driver.host", "127.0.0.1")
        if "PYSPARK_GATEWAY_PORT" not in os.environ:  # under spark-submit Java runs already, without this class
            builder = builder.config("spark.driver.extraClassPath", str(local_files_jar(settings)))
            builder = builder.config("spark.hadoop.fs.file.impl", _BARE_FILES)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it logs a line per callback
    return session

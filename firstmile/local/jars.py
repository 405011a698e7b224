"""The Java programs of the embedded stack and Spark's connectors, fetched once and cached.

A set of jars is a folder under `settings.cache`, named by its version. `python -m firstmile.local.jars` fetches all.
"""

import logging
import re
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from firstmile.errors import FirstmileError
from firstmile.local.ivy import JarSet, fetch, pyspark_jars, pyspark_version
from firstmile.settings import Settings, load_settings

log = logging.getLogger(__name__)

KAFKA_VERSION = "4.4.0"
LOG4J_VERSION = "2.25.5"  # the one Kafka's jars are built with; without the binding Kafka logs nothing at all
BARE_FILES_VERSION = "0.1.0"
APICURIO_VERSION = "3.0.9"  # the last on Maven Central that runs on Java 17: 3.3 is compiled for 21


def kafka_jars(settings: Settings) -> Path:
    """Folder of Kafka's jars. Raises DependencyError when they are not cached and cannot be fetched."""
    return _present(settings, [_kafka()])[0]


def registry_app(settings: Settings) -> Path:
    """Apicurio's runnable jar, its libraries beside it. Raises DependencyError as above."""
    return next(_present(settings, [_registry()])[0].glob("*-runner.jar"))


def spark_jars(settings: Settings) -> list[Path]:
    """Spark's Kafka and Avro connectors and what they need beyond pyspark's own jars; raises as above."""
    return sorted(_present(settings, [_spark()])[0].glob("*.jar"))


def local_files_jar(settings: Settings) -> Path:
    """A local file system for Hadoop that asks no other process about it; raises as above."""
    return next(_present(settings, [_files()])[0].glob("*.jar"))


def missing(settings: Settings) -> list[str]:
    """Names of the sets that would have to be fetched, for example `kafka-4.4.0`."""
    return [s.folder(settings).name for s in all_sets() if not s.folder(settings).is_dir()]


def all_sets() -> list[JarSet]:
    """Every set there is. Raises DependencyError when pyspark is not installed."""
    return [_kafka(), _registry(), _spark(), _files()]


def _kafka() -> JarSet:
    jars = _dependency("org.apache.kafka", "kafka_2.13", KAFKA_VERSION)
    jars += _dependency("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION)
    return JarSet("kafka", KAFKA_VERSION, 46, jars, lambda folder: None)


def _registry() -> JarSet:
    artifact = '<artifact name="apicurio-registry-app" type="tar.gz" ext="tar.gz" m:classifier="all"/>'
    app = _dependency("io.apicurio", "apicurio-registry-app", APICURIO_VERSION, artifact)
    return JarSet("registry", APICURIO_VERSION, 109, app, _unpack, has_poms=False)


def _spark() -> JarSet:
    version = pyspark_version()
    names = ("spark-sql-kafka-0-10_2.13", "spark-avro_2.13")
    big = '<exclude org="org.apache.hadoop"/><exclude org="org.scala-lang"/>'  # pyspark has them, 55 MB
    jars = "".join(_dependency("org.apache.spark", name, version, big) for name in names)
    return JarSet("spark", version, 14, jars, _without_those_of_pyspark)


def _files() -> JarSet:
    jar = _dependency("com.globalmentor", "hadoop-bare-naked-local-fs", BARE_FILES_VERSION)
    return JarSet("local-files", BARE_FILES_VERSION, 1, jar, lambda folder: None, has_poms=False)


def _dependency(organisation: str, name: str, version: str, body: str = "") -> str:
    named = f'org="{organisation}" name="{name}" rev="{version}"'
    return f'<dependency {named} conf="jars->default">{body}</dependency>'


def _unpack(folder: Path) -> None:
    for archive in list(folder.glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()


def _without_those_of_pyspark(folder: Path) -> None:
    own = {artifact(jar) for jar in pyspark_jars().glob("*.jar")}
    for jar in list(folder.glob("*.jar")):
        if artifact(jar) in own:
            jar.unlink()


def artifact(jar: Path) -> str:
    """A jar's name without its version.

    >>> artifact(Path("spark-avro_2.13-4.1.1.jar"))
    'spark-avro_2.13'
    """
    # The version is what follows the last "-<digits>." that the name itself does not need.
    return re.sub(r"-\d+(\.[^-]*)*(-[A-Za-z][^-]*)*$", "", jar.stem)


def _present(settings: Settings, sets: Sequence[JarSet]) -> list[Path]:
    folders = [s.folder(settings) for s in sets]
    if not all(folder.is_dir() for folder in folders):
        fetch(settings, sets)
    return folders


def main() -> None:
    """Fetch every set; silent when all are there."""
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    try:
        fetch(load_settings(), all_sets())
    except FirstmileError as error:
        log.error("%s: %s", type(error).__name__, error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

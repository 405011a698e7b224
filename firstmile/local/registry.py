"""The schema registry, embedded: Apicurio, asked through its Confluent-compatible API.

Its schemas are in an H2 file. Records carry schema ids, so an id must outlive every restart: WRITE_DELAY=0 has H2
write before it answers, where its default keeps the last half second in memory.
"""

from firstmile.local.http import http_problem
from firstmile.local.jars import registry_app
from firstmile.local.part import EmbeddedPart, data_folder, log_file
from firstmile.local.ports import LOOPBACK
from firstmile.local.process import Program
from firstmile.settings import Settings

HEAP_MB = 320


def program(settings: Settings) -> Program:
    """What to run."""
    local = settings.local
    folder = data_folder(settings, "registry")
    environment = {
        "QUARKUS_HTTP_HOST": LOOPBACK,
        "QUARKUS_HTTP_PORT": str(local.registry_port),
        # Off in this version; bound all the same, because later ones open it on every interface.
        "QUARKUS_MANAGEMENT_HOST": LOOPBACK,
        "QUARKUS_MANAGEMENT_PORT": str(local.registry_management_port),
        "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{folder / 'schemas'};WRITE_DELAY=0",
        # The defaults open 20 connections at once to a database that is one file.
        "APICURIO_DATASOURCE_JDBC_INITIAL_SIZE": "2",
        "APICURIO_DATASOURCE_JDBC_MIN_SIZE": "2",
        "APICURIO_DATASOURCE_JDBC_MAX_SIZE": "20",
        "APICURIO_STORAGE_SNAPSHOT_LOCATION": str(folder),
    }
    # C1 alone: half the CPU until it is up (3.7 s, not 7.6), and a registry is asked a few times an hour.
    flags = [f"-Xmx{HEAP_MB}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command = [local.java, *flags, "-jar", str(registry_app(settings))]
    return Program("registry", command, log_file(settings, "registry"), environment, folder)


def problem(settings: Settings) -> str | None:
    """None when the registry lists its subjects."""
    return http_problem(f"{settings.registry_url.rstrip('/')}/subjects")


PART = EmbeddedPart(
    name="registry",
    program=program,
    problem=problem,
    address=lambda settings: settings.registry_url,
    ports=lambda settings: [("FIRSTMILE_LOCAL__REGISTRY_PORT", settings.local.registry_port)],
    setting="FIRSTMILE_REGISTRY__URL",
)

"""Kafka, embedded: one KRaft node, broker and controller in one process, on loopback."""

import base64
import shlex
import socket
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from firstmile.local.jars import kafka_jars
from firstmile.local.part import EmbeddedPart, data_folder, log_file
from firstmile.local.ports import LOOPBACK
from firstmile.local.process import Program
from firstmile.settings import Settings

PROBE_S = 1.0


def program(settings: Settings) -> Program:
    """Format the storage once, then run the server."""
    local = settings.local
    folder = data_folder(settings, "kafka")
    properties = folder / "server.properties"
    properties.write_text(_properties(settings, folder))
    classpath = f"{kafka_jars(settings)}/*"
    # A small heap for one machine's events: the plain collector and the first compiler start with half the CPU.
    serve = [local.java, f"-Xmx{local.kafka_heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    serve += ["-Dlog4j2.level=INFO", "-cp", classpath, "kafka.Kafka", str(properties)]
    command = ["exec", *serve]
    if not (folder / "log" / "meta.properties").exists():
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = [local.java, "-XX:TieredStopAtLevel=1", "-cp", classpath, "kafka.tools.StorageTool"]
        # One word with "=": an id that starts with a dash, one in 64, would be read as an option.
        tool += ["format", "--standalone", "--ignore-formatted", f"--cluster-id={cluster}", "-c", str(properties)]
        command = [*tool, "&&", *command]
    # One shell line, so that formatting runs beside the other parts' start and the pid stays the server's.
    line = " ".join(word if word in ("&&", "exec") else shlex.quote(word) for word in command)
    return Program("kafka", ["/bin/sh", "-c", line], log_file(settings, "kafka"), folder=folder)


def problem(settings: Settings) -> str | None:
    """None when the cluster lists its topics."""
    for server in settings.kafka_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            # Asked first: librdkafka takes longer to say that nobody listens.
            socket.create_connection((host, int(port)), timeout=PROBE_S).close()
            break
        except (OSError, ValueError) as error:
            refusal = f"{server}: {error}"
    else:
        return refusal
    try:
        client = AdminClient({"bootstrap.servers": settings.kafka_servers, "log_level": 0})
        return None if client.list_topics(timeout=PROBE_S).brokers else "no broker is in the cluster"
    except KafkaException as error:
        return str(error.args[0].str())


def _ports(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("FIRSTMILE_LOCAL__KAFKA_PORT", settings.local.kafka_port),
        ("FIRSTMILE_LOCAL__KAFKA_CONTROLLER_PORT", settings.local.kafka_controller_port),
    ]


def _properties(settings: Settings, folder: Path) -> str:
    broker = f"PLAINTEXT://{LOOPBACK}:{settings.local.kafka_port}"
    controller = f"CONTROLLER://{LOOPBACK}:{settings.local.kafka_controller_port}"
    return f"""# written at every start; change firstmile/local/kafka.py or give the address of your own Kafka
process.roles=broker,controller
node.id=1
listeners={broker},{controller}
advertised.listeners={broker},{controller}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={LOOPBACK}:{settings.local.kafka_controller_port}
log.dirs={folder / "log"}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# a consumer alone need not wait for others to join
group.initial.rebalance.delay.ms=0
"""


PART = EmbeddedPart(
    name="kafka",
    program=program,
    problem=problem,
    address=lambda settings: settings.kafka_servers,
    ports=_ports,
    setting="FIRSTMILE_KAFKA__BOOTSTRAP_SERVERS",
)

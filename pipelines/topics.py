"""Topics and their schemas: created and registered here, by whoever starts first; doing it again changes nothing."""

from importlib.resources import files
from typing import Annotated

import typer
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from firstmile.broker import admin, describe_topics
from firstmile.cli import emit
from firstmile.errors import ConflictError, DependencyError
from firstmile.names import DEAD_LETTERS, EVENT_TOPICS, PROFILES, REPLAYED, STREAM_TOPICS, TOPICS
from firstmile.settings import Settings, load_settings
from firstmile.wire import RecordWriter, Registry

COMPATIBILITY = "BACKWARD"
MAX_DEAD_LETTER_BYTES = 4_194_304
"""Of a compressed batch: a record as large as an input topic takes (1 MiB) and what is said of it must fit."""


def schema_text(topic: str) -> str:
    """The Avro schema of a topic's values, as in pipelines/schemas."""
    return files("pipelines").joinpath("schemas", f"{topic}.avsc").read_text(encoding="utf-8")


def ensure_topics(settings: Settings) -> dict[str, int]:
    """Create what is missing and register every schema; returns the schema id by topic.

    Raises DependencyError when Kafka or the registry is away, ConflictError when a schema is incompatible with the one
    in use, or when the event topics differ in partition count: a user's events would then lie in different partitions.
    """
    _create(settings)
    counts = {t: info.n_partitions for t, info in describe_topics(settings, STREAM_TOPICS).items()}
    if len(set(counts.values())) > 1:
        raise ConflictError(
            f"{', '.join((*EVENT_TOPICS, PROFILES))} must have one partition count, they have {counts}; "
            "add partitions to the smaller ones while the stream is stopped"
        )
    registry = Registry(settings.registry_url, timeout_s=settings.registry.timeout_s)
    ids = {}
    for topic in TOPICS:
        registry.set_compatibility(topic, COMPATIBILITY)
        ids[topic] = registry.register(topic, schema_text(topic))
    return ids


def topic_config(topic: str, settings: Settings) -> dict[str, str]:
    """The broker's settings of a topic, by their names in Kafka."""
    # Replayed history carries old times: retention must count from the append.
    config = {"message.timestamp.type": "LogAppendTime"}
    if topic == REPLAYED:  # one record per dead letter that was sent again, for as long as there may be dead letters
        return config | {"cleanup.policy": "compact"}
    if topic == DEAD_LETTERS:
        config["max.message.bytes"] = str(MAX_DEAD_LETTER_BYTES)
    return config | {"retention.ms": str(settings.kafka.retention_hours * 3_600_000)}


def record_writers(registry: Registry) -> dict[str, RecordWriter]:
    """A writer for each topic the stream reads."""
    return {topic: RecordWriter(registry, topic) for topic in STREAM_TOPICS}


def _create(settings: Settings) -> None:
    kafka = settings.kafka
    wanted = [
        NewTopic(
            topic,
            num_partitions=kafka.partitions,
            replication_factor=kafka.replication,
            config=topic_config(topic, settings),
        )
        for topic in TOPICS
    ]
    client = admin(settings)  # named: the futures fail once their client is collected
    for topic, future in client.create_topics(wanted, request_timeout=kafka.timeout_s).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise DependencyError(
                    f"Kafka at {settings.kafka_servers} did not create {topic}: {error.args[0].str()}"
                ) from error


def alter(settings: Settings) -> None:
    """Give the topics that exist the settings' retention and what else `topic_config` says.

    Raises DependencyError when Kafka refuses.
    """
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in topic_config(topic, settings).items()
            ],
        )
        for topic in TOPICS
    ]
    client = admin(settings)  # named: the futures fail once their client is collected
    futures = client.incremental_alter_configs(resources, request_timeout=settings.kafka.timeout_s)
    for resource, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            raise DependencyError(f"Kafka did not alter {resource.name}: {error.args[0].str()}") from error


def run(
    alter_existing: Annotated[
        bool, typer.Option("--alter", help="also give topics that exist the settings' retention")
    ] = False,
) -> None:
    """Create the topics and register their schemas; safe to run again."""
    settings = load_settings()
    ids = ensure_topics(settings)
    if alter_existing:
        alter(settings)
    emit({"topics": {t: i.__dict__ for t, i in describe_topics(settings, TOPICS).items()}, "schema_ids": ids})

"""The bytes of a record: Confluent framing (a zero byte, the schema id, an Avro body) and the registry behind it.

0        1..4                5..
0x00     schema id, big-endian    Avro body, written with that schema
"""

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro
import httpx2
import orjson
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from firstmile.compatibility import reasons
from firstmile.errors import ConflictError, DependencyError, WireError
from firstmile.names import subject

MAGIC = 0
HEADER = struct.Struct(">BI")

Record = dict[str, Any]

# What the registry's client lets through when there is no answer: it speaks HTTP by httpx2.
_AWAY = (OSError, httpx2.HTTPError)


class Registry:
    """The schema registry, with every answer remembered: an id never changes its meaning."""

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self.url = url
        self._client = SchemaRegistryClient({"url": url, "timeout": timeout_s, "max.retries": 1})
        self._by_id: dict[int, Any] = {}

    def register(self, topic: str, schema_text: str) -> int:
        """Register a topic's value schema; returns its id. The same schema again gives the same id.

        Raises DependencyError when the registry is away or cannot read the schema, ConflictError when it refuses the
        schema as incompatible with the one in use, naming the fields and why.
        """
        try:
            return int(self._client.register_schema(subject(topic), Schema(schema_text, "AVRO")))
        except (SchemaRegistryError, *_AWAY) as error:
            if isinstance(error, SchemaRegistryError) and error.http_status_code == 409:
                raise self._incompatible(topic, schema_text, error) from error
            raise DependencyError(f"registry {self.url} did not take the schema of {topic}: {error}") from error

    def _incompatible(self, topic: str, schema_text: str, error: SchemaRegistryError) -> ConflictError:
        said = str(error.error_message)
        schema_id, in_use = self.latest(topic)
        why = "; ".join(reasons(said, new=schema_text, old=in_use)) or "it names no field"
        return ConflictError(
            f"the schema of {topic} is incompatible with schema {schema_id}, which its writers use: {why}. Give a new "
            f"field a default and leave the types of fields as they are, or take a new topic. {self.url} said: {said}"
        )

    def set_compatibility(self, topic: str, level: str) -> None:
        """Set how schemas of a topic may change, for example BACKWARD."""
        try:
            self._client.set_compatibility(subject_name=subject(topic), level=level)
        except (SchemaRegistryError, *_AWAY) as error:
            raise DependencyError(f"registry {self.url} did not set {level} on {topic}: {error}") from error

    def latest(self, topic: str) -> tuple[int, str]:
        """(schema id, schema text) that writers of a topic use now.

        Raises DependencyError when the registry is away or the topic has no schema.
        """
        try:
            found = self._client.get_latest_version(subject(topic))
        except (SchemaRegistryError, *_AWAY) as error:
            raise DependencyError(
                f"registry {self.url} has no schema for {topic}: {error}; run `firstmile topics`"
            ) from error
        return int(found.schema_id or 0), str(found.schema.schema_str)

    def writer_text(self, schema_id: int) -> str:
        """Text of a schema by id. Raises WireError when no such schema is registered."""
        try:
            return str(self._client.get_schema(schema_id).schema_str)
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                raise WireError(f"schema id {schema_id} is not in the registry") from error
            raise DependencyError(f"registry {self.url}: {error}") from error
        except _AWAY as error:
            raise DependencyError(f"registry {self.url}: {error}") from error

    def parsed(self, schema_id: int) -> Any:
        """Parsed schema by id, remembered."""
        if schema_id not in self._by_id:
            self._by_id[schema_id] = fastavro.parse_schema(orjson.loads(self.writer_text(schema_id)))
        return self._by_id[schema_id]


class RecordWriter:
    """Dictionaries to framed bytes, with a topic's latest schema as of construction."""

    def __init__(self, registry: Registry, topic: str) -> None:
        schema_id, text = registry.latest(topic)
        self.topic = topic
        self._schema = fastavro.parse_schema(orjson.loads(text))
        self.head = HEADER.pack(MAGIC, schema_id)

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """Framed bytes. Raises WireError when the record does not fit the schema."""
        return self.head + _body(record, self._schema, self.topic)


class PartWriter:
    """Some consecutive fields of a record, unframed: a record's bytes are those of its fields, one after the other."""

    def __init__(self, fields: Sequence[Mapping[str, Any]]) -> None:
        self._schema = fastavro.parse_schema({"type": "record", "name": "Part", "fields": list(fields)})

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """Their bytes. Raises WireError when a value does not fit."""
        return _body(record, self._schema, "a part")


def _body(record: Mapping[str, Any], schema: Any, what: str) -> bytes:
    out = io.BytesIO()
    try:
        fastavro.schemaless_writer(out, schema, record)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise WireError(f"a record for {what} does not fit its schema: {error!r}") from error
    return out.getvalue()


class RecordReader:
    """Framed bytes to dictionaries, by the schema each was written with."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def decode(self, value: bytes) -> Record:
        """The record. Raises WireError when the bytes are not one."""
        if len(value) < HEADER.size:
            raise WireError(f"{len(value)} bytes are too short for a record")
        magic, schema_id = HEADER.unpack_from(value)
        if magic != MAGIC:
            raise WireError(f"first byte is {magic}, a framed record starts with {MAGIC}")
        try:
            record = fastavro.schemaless_reader(
                io.BytesIO(value[HEADER.size :]), self._registry.parsed(schema_id), None
            )
        except (EOFError, ValueError, IndexError, TypeError) as error:
            raise WireError(f"body does not read as schema {schema_id}: {error!r}") from error
        if not isinstance(record, dict):
            raise WireError(f"schema {schema_id} is not a record")
        return record

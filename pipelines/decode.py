"""Kafka records to flat columns, Avro decoded by the schema of each record's writer (docs/adr/0008).

A record nobody can use keeps its bytes and gets a reason; it goes to the dead letters.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import fastavro
import orjson
import pyarrow as pa

from firstmile.errors import WireError
from firstmile.names import STREAM_TOPICS
from firstmile.wire import Registry
from pipelines.decode_columns import decode_columns
from pipelines.decode_records import decode_records
from pipelines.reading import RAW, Reading
from pipelines.topics import schema_text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass
class WriterSchemas:
    """Schema ids by topic that records may carry, learned from the registry as they appear."""

    registry: Registry
    text_by_id: dict[str, dict[int, str]] = field(default_factory=lambda: {topic: {} for topic in STREAM_TOPICS})

    def learn_latest(self) -> None:
        """Add the schema each topic's writers use now."""
        for topic in STREAM_TOPICS:
            schema_id, text = self.registry.latest(topic)
            self.text_by_id[topic][schema_id] = text

    def learn(self, topic: str, schema_id: int) -> bool:
        """Add a schema seen for the first time; False when it is not registered or not a record of this topic's kind.

        Raises DependencyError when the registry does not answer.
        """
        try:
            text = self.registry.writer_text(schema_id)
        except WireError:
            return False
        if not _is_readable(text, schema_text(topic)):
            return False
        self.text_by_id[topic][schema_id] = text
        return True

    def text(self, topic: str, schema_id: int) -> str | None:
        """The schema of that id, learned if it is new; None when there is none."""
        known = self.text_by_id[topic]
        return known[schema_id] if schema_id in known or self.learn(topic, schema_id) else None


def _is_readable(writer: str, reader: str) -> bool:
    """Whether the writer's is an Avro record with every field that the reader cannot fill from a default."""
    try:
        fastavro.parse_schema(schema := orjson.loads(writer))
        given = {f["name"] for f in schema["fields"]}
    except (ValueError, TypeError, KeyError, fastavro.schema.SchemaParseException):
        return False
    needed = {f["name"] for f in orjson.loads(reader)["fields"] if "default" not in f}
    return needed <= given


def raw(records: "DataFrame") -> "DataFrame":
    """What of Kafka's records (or a stream of them) is read."""
    return records.selectExpr(*RAW)


def decoded(records: pa.Table, schemas: WriterSchemas, reading: Reading) -> pa.Table:
    """A batch of `raw` records with columns of reading.SCHEMA, ordered by arrival.

    topic, partition, offset, at_us (Kafka's time), key, value (only with a reason), schema_id, reason (null = good),
    the record's own fields, what `reading.fields` reads from its properties, onboarding_us; properties (of a context,
    of a record with a watched one; a profile's traits), enriched (the encoded beginning of an enriched event).
    """
    ordinary, others = decode_columns(records, schemas.text, reading)
    table = pa.concat_tables([ordinary, decode_records(others, schemas.text, reading)])
    return table.sort_by([("received_us", "ascending"), ("topic", "ascending"), ("offset", "ascending")])

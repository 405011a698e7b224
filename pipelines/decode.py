"""Kafka records to flat columns, Avro decoded by the schema of each record's writer: few of them in Python, where
nothing waits for a plan, many in the JVM (docs/adr/0007).

A record nobody can use keeps its bytes and gets a reason; it goes to the dead letters.
"""

from dataclasses import dataclass, field

import fastavro
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from firstmile.errors import WireError
from firstmile.names import STREAM_TOPICS
from firstmile.wire import Registry
from pipelines.decode_plan import NEEDS_SCHEMA, RAW, Reading, selects
from pipelines.decode_records import decode_records
from pipelines.topics import schema_text


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


def raw(records: DataFrame) -> DataFrame:
    """What of Kafka's records (or a stream of them) is read."""
    return records.selectExpr(*RAW)


def decoded(batch: DataFrame, n: int, schemas: WriterSchemas, reading: Reading, *, few: int) -> pa.Table:
    """A batch of `raw` records as one Arrow table, ordered by arrival.

    n
        About how many there are: up to `few` are decoded in Python.

    Columns: topic, partition, offset, at_us (Kafka's time), key, value (only with a reason), schema_id, reason (null =
    good), message_id, user_id, anonymous_id, type, name, event_us, sent_us, received_us, weight, user_agent, consent,
    is_clamped, content_id, format, page, step, field, target, onboarding_us; for profiles updated_us; properties (of a
    context, of a record with a watched one; a profile's traits), enriched (the encoded beginning of an enriched event).
    """
    is_small = n <= few
    table = decode_records(batch.toArrow(), schemas.text, reading) if is_small else _by_spark(batch, schemas, reading)
    return table.sort_by([("received_us", "ascending"), ("topic", "ascending"), ("offset", "ascending")])


def _by_spark(batch: DataFrame, schemas: WriterSchemas, reading: Reading) -> pa.Table:
    """By a plan with the schemas known now; records of one that is not are decoded when it has been learned."""
    records = batch
    for expressions in selects(schemas.text_by_id, reading):
        records = records.selectExpr(*expressions)
    table = records.toArrow()
    strange = table.filter(pc.equal(table["reason"], NEEDS_SCHEMA).fill_null(False))
    if not strange.num_rows:
        return table
    again = decode_records(strange, schemas.text, reading).cast(table.schema)
    return pa.concat_tables([table.filter(pc.not_equal(table["reason"], NEEDS_SCHEMA).fill_null(True)), again])

"""Kafka records to flat columns, in the JVM: one pass per batch, Avro decoded by the schema of each record's writer.

The stream plans once, with the schemas it knows; records of one it has just learned take a second pass, and the stream
plans again (stream.py). A record nobody can use keeps its bytes and gets a reason; it goes to the dead letters.
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
from pipelines.decode_plan import NEEDS_SCHEMA, Reading, selects
from pipelines.topics import schema_text


@dataclass
class WriterSchemas:
    """Schema ids by topic that records may carry, learned from the registry as they appear."""

    registry: Registry
    text_by_id: dict[str, dict[int, str]] = field(default_factory=lambda: {topic: {} for topic in STREAM_TOPICS})
    n_learned: int = 0

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
        self.n_learned += 1
        return True


def _is_readable(writer: str, reader: str) -> bool:
    """Whether the writer's is an Avro record with every field that the reader cannot fill from a default."""
    try:
        fastavro.parse_schema(schema := orjson.loads(writer))
        given = {f["name"] for f in schema["fields"]}
    except (ValueError, TypeError, KeyError, fastavro.schema.SchemaParseException):
        return False
    needed = {f["name"] for f in orjson.loads(reader)["fields"] if "default" not in f}
    return needed <= given


def planned(records: DataFrame, schemas: WriterSchemas, reading: Reading) -> DataFrame:
    """Kafka's records (or a stream of them) with the columns of `decoded`, by the schemas known now."""
    for expressions in selects(schemas.text_by_id, reading):
        records = records.selectExpr(expressions)
    return records


def decoded(batch: DataFrame, schemas: WriterSchemas, reading: Reading) -> pa.Table:
    """A planned batch as one Arrow table, ordered by arrival; what the plan knew no schema of is decoded now.

    Columns: topic, partition, offset, at_us (Kafka's time), key, value (only with a reason), schema_id, reason (null =
    good), message_id, user_id, anonymous_id, type, name, event_us, sent_us, received_us, weight, user_agent, consent,
    is_clamped, content_id, format, page, step, field, target, onboarding_us; for profiles updated_us; properties (of a
    context, of a record with a watched one; a profile's traits), enriched (the encoded beginning of an enriched event).
    """
    table = batch.toArrow()
    strange = pc.equal(table["reason"], NEEDS_SCHEMA).fill_null(False)
    if pc.any(strange).as_py():
        table = pa.concat_tables(
            [table.filter(pc.invert(strange)), _again(batch, table.filter(strange), schemas, reading)]
        )
    return table.sort_by([("received_us", "ascending"), ("topic", "ascending"), ("offset", "ascending")])


def _again(batch: DataFrame, strange: pa.Table, schemas: WriterSchemas, reading: Reading) -> pa.Table:
    unknown = set(zip(strange["topic"].to_pylist(), strange["schema_id"].to_pylist(), strict=True))
    learned = [schemas.learn(topic, schema_id) for topic, schema_id in unknown if schema_id is not None]
    if not any(learned):
        return strange
    raw = batch.sparkSession.createDataFrame(strange.select(["topic", "partition", "offset", "at_us", "key", "value"]))
    records = raw.selectExpr("*", "timestamp_micros(at_us) AS timestamp").drop("at_us")
    return planned(records, schemas, reading).toArrow().cast(strange.schema)

"""Kafka records to flat columns, in the JVM: one pass per batch, Avro decoded by the schema of each record's writer.

A record nobody can use keeps its bytes and gets a reason; it goes to the dead letters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import fastavro
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark text uses
from pyspark.sql.avro.functions import from_avro

from feature_repo.activity import MAX_EVENT_MS, MAX_WEIGHT
from firstmile.errors import WireError
from firstmile.names import EVENT_TOPICS, PROFILES, STREAM_TOPICS
from firstmile.wire import HEADER, MAGIC, Registry
from pipelines.topics import schema_text

MAX_RECORD_BYTES = 65_536
EARLIEST_US = 1_104_537_600_000_000
"""2005-01-01: nothing we read happened before it."""
MAX_AHEAD_US = 86_400_000_000
"""A record received more than a day after Kafka had it was stamped by a broken clock."""

TOMBSTONE = "tombstone"
NEEDS_SCHEMA = "unknown_schema"

# Column of the flat table ← property of the record.
_PROPERTIES = {"content_id": "content_id", "format": "format", "page": "page", "step": "step"}


@dataclass
class WriterSchemas:
    """Schema ids by topic that records may carry, learned from the registry as they appear."""

    registry: Registry
    text_by_id: dict[str, dict[int, str]] = field(default_factory=lambda: {topic: {} for topic in STREAM_TOPICS})
    refused: set[tuple[str, int]] = field(default_factory=set)

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


def _is_readable(writer: str, reader: str) -> bool:
    """Whether the writer's is an Avro record with every field that the reader cannot fill from a default."""
    try:
        fastavro.parse_schema(schema := orjson.loads(writer))
        given = {f["name"] for f in schema["fields"]}
    except (ValueError, TypeError, KeyError, fastavro.schema.SchemaParseException):
        return False
    needed = {f["name"] for f in orjson.loads(reader)["fields"] if "default" not in f}
    return needed <= given


def decode(batch: DataFrame, schemas: WriterSchemas) -> pa.Table:
    """The batch as one Arrow table, ordered by arrival.

    Columns: topic, partition, offset, at_us (Kafka's time), key, value (only with a reason), schema_id, reason and
    detail (null = good), message_id, user_id, anonymous_id, type, name, event_us, sent_us, received_us, weight,
    content_id, format, page, step, onboarding_us, properties; for profiles updated_us and traits in properties.
    """
    table = _select(batch, schemas.text_by_id).toArrow()
    strange = table.filter(pc.equal(table["reason"], NEEDS_SCHEMA))
    unknown = set(zip(strange["topic"].to_pylist(), strange["schema_id"].to_pylist(), strict=True))
    learned = [schemas.learn(topic, schema_id) for topic, schema_id in unknown]
    if any(learned):
        table = _select(batch, schemas.text_by_id).toArrow()
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:  # a text that is no UTF-8: Spark hands it on, Python could not read it
        table = _select(batch, schemas.text_by_id, only_utf8=True).toArrow()
    return table.sort_by([("received_us", "ascending"), ("topic", "ascending"), ("offset", "ascending")])


def _select(batch: DataFrame, text_by_id: Mapping[str, Mapping[int, str]], *, only_utf8: bool = False) -> DataFrame:
    schema_id = F.conv(F.hex(F.substring("value", 2, 4)), 16, 10).cast("bigint")  # any four bytes: not all are an int
    framed = batch.select(
        "topic",
        "partition",
        "offset",
        F.unix_micros("timestamp").alias("at_us"),
        "key",
        "value",
        F.when(F.length("value") >= HEADER.size, schema_id).alias("schema_id"),
        (F.hex(F.substring("value", 1, 1)) == f"{MAGIC:02X}").alias("is_framed"),
    )
    body = F.substring(F.col("value"), HEADER.size + 1, F.length("value"))
    events = {topic: text_by_id[topic] for topic in EVENT_TOPICS}
    decoded = framed.withColumns(
        {
            "e": _by_schema(body, events),
            "p": _by_schema(body, {PROFILES: text_by_id[PROFILES]}),
            "is_known": _is_known(text_by_id),
        }
    )
    flat = decoded.select("*", *_flat())
    if only_utf8:
        flat = _without_broken_texts(flat)
    return flat.withColumn("reason", _reason()).select(
        "topic",
        "partition",
        "offset",
        "at_us",
        "key",
        F.when(F.col("reason").isNotNull(), F.col("value")).alias("value"),
        "schema_id",
        "reason",
        *(name for name in _FLAT),
    )


def _without_broken_texts(flat: DataFrame) -> DataFrame:
    """All texts null where one of them is no UTF-8: a record without a message id is undecodable."""
    texts = [name for name, kind in flat.select(*_FLAT).dtypes if kind == "string"]
    are_whole = F.lit(True)
    for name in texts:
        are_whole &= F.coalesce(F.is_valid_utf8(name), F.lit(True))
    for part in (F.map_keys("properties"), F.map_values("properties")):
        are_whole &= F.coalesce(F.forall(part, F.is_valid_utf8), F.lit(True))
    return flat.withColumns({name: F.when(are_whole, F.col(name)) for name in (*texts, "properties")})


def _by_schema(body: Column, texts: Mapping[str, Mapping[int, str]]) -> Column:
    case: Column | None = None
    for topic, by_id in texts.items():
        for schema_id, text in by_id.items():
            here = (F.col("topic") == topic) & (F.col("schema_id") == schema_id) & F.col("is_framed")
            value = from_avro(body, text, {"avroSchema": schema_text(topic), "mode": "PERMISSIVE"})
            case = F.when(here, value) if case is None else case.when(here, value)
    if case is None:
        raise WireError(f"no schema is registered for any of {', '.join(texts)}; run `firstmile topics`")
    return case


def _is_known(text_by_id: Mapping[str, Mapping[int, str]]) -> Column:
    known = F.lit(False)
    for topic, by_id in text_by_id.items():
        known = known | ((F.col("topic") == topic) & F.col("schema_id").isin(list(by_id)))
    return known


_FLAT = (
    "message_id",
    "user_id",
    "anonymous_id",
    "type",
    "name",
    "event_us",
    "sent_us",
    "received_us",
    "weight",
    *_PROPERTIES,
    "onboarding_us",
    "properties",
    "updated_us",
)


def _flat() -> list[Column]:
    e, p = F.col("e"), F.col("p")
    columns = {
        "message_id": F.coalesce(e["message_id"], p["message_id"]),
        "user_id": F.coalesce(e["user_id"], p["user_id"]),
        "anonymous_id": e["anonymous_id"],
        "type": e["type"],
        "name": e["name"],
        "event_us": F.unix_micros(e["event_time"]),
        "sent_us": F.unix_micros(e["sent_at"]),
        "received_us": F.unix_micros(F.coalesce(e["received_at"], p["received_at"])),
        "weight": e["weight"],
        **{column: e["properties"][name] for column, name in _PROPERTIES.items()},
        "onboarding_us": e["properties"]["onboarding_at"].try_cast("bigint"),
        "properties": F.coalesce(e["properties"], p["traits"]),
        "updated_us": F.unix_micros(p["updated_at"]),
    }
    return [column.alias(name) for name, column in columns.items()]


def _reason() -> Column:
    is_profile = F.col("topic") == PROFILES
    happened = F.coalesce(F.col("event_us"), F.col("updated_us"))
    impossible = (
        ~happened.between(EARLIEST_US, MAX_EVENT_MS * 1_000)
        | (F.col("received_us") < EARLIEST_US)
        | (F.col("received_us") > F.col("at_us") + MAX_AHEAD_US)
    )
    return (
        F.when(F.col("key").isNull() | (F.length("key") == 0), "missing_key")
        .when(is_profile & F.col("value").isNull(), TOMBSTONE)
        .when(F.col("value").isNull(), "undecodable")
        .when(F.length("value") > MAX_RECORD_BYTES, "oversized")
        .when(~F.col("is_framed") | (F.length("value") < HEADER.size), "bad_magic")
        .when(~F.col("is_known"), NEEDS_SCHEMA)
        .when(F.col("message_id").isNull() | F.col("received_us").isNull() | happened.isNull(), "undecodable")
        .when(F.length("user_id") == 0, "missing_key")
        .when(~F.col("weight").between(0, MAX_WEIGHT), "impossible_weight")
        .when(impossible, "impossible_time")
    )

"""Whether the records of a writer can be read all together, and how."""

import io
from dataclasses import dataclass
from functools import cache

import fastavro

from pipelines.avro_columns import Field, layout
from pipelines.reading import parsed
from pipelines.topics import schema_text


@dataclass(frozen=True)
class PlainReading:
    """How a writer's records are read.

    fields
        The writer's, in its order.
    missing, defaults
        Fields of ours that the writer does not have, and their defaults as Avro writes them.
    """

    fields: tuple[Field, ...]
    missing: tuple[Field, ...]
    defaults: bytes


@cache
def plain_reading(topic: str, text: str) -> PlainReading | None:
    """For a topic's records written with a schema; None when it has what avro_columns.py does not read, or fields of
    ours in another form."""
    ours = parsed(schema_text(topic))
    writer, reader = layout(parsed(text)), layout(ours)
    if writer is None or reader is None:
        return None
    given = {each.name: each for each in writer}
    if any(not _fits(given.get(each.name, each), each) for each in reader):
        return None
    missing = tuple(each for each in reader if each.name not in given)
    fields = [f for f in ours["fields"] if f["name"] not in given]
    if any("default" not in f for f in fields) or sum(each.kind == "map" for each in (*writer, *missing)) != 1:
        return None
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema({"type": "record", "name": "Rest", "fields": fields}), {})
    return PlainReading(writer, missing, out.getvalue())


def _fits(theirs: Field, ours: Field) -> bool:
    kinds = {theirs.kind, ours.kind}
    return theirs.is_nullable == ours.is_nullable and (len(kinds) == 1 or (theirs.kind, ours.kind) == ("int", "long"))

"""A registry's refusal in a person's words, from the texts that two registries really write."""

import json
from typing import Any

from firstmile.compatibility import reasons


def record(*fields: dict[str, Any], name: str = "R") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


WEIGHT = {"name": "weight", "type": "long"}
OLD = record({"name": "user_id", "type": "string"}, WEIGHT)


def test_confluents_text_names_the_field_too() -> None:
    new = record({"name": "user_id", "type": "string"}, WEIGHT | {"type": "string"}, {"name": "plan", "type": "int"})
    said = (
        "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'plan' at path '/fields/2' in the new "
        "schema has no default value and is missing in the old schema', additionalInfo:'plan'}, {errorType:'TYPE_"
        "MISMATCH', description:'The type (path '/fields/1/type') of a field in the new schema does not match'}"
    )
    assert reasons(said, new=new, old=OLD) == [
        "field `plan` is new and has no default",
        'field `weight` changed its type from "long" to "string"',
    ]


def test_a_field_inside_a_record_is_named_by_its_path() -> None:
    def outer(*fields: dict[str, Any]) -> str:
        return record({"name": "page", "type": {"type": "record", "name": "Page", "fields": list(fields)}})

    old, new = outer({"name": "url", "type": "string"}), outer({"name": "url", "type": "int"})
    assert reasons("reader type: INT at /fields/0/type/fields/0/type", new=new, old=old) == [
        'field `page.url` changed its type from "string" to "int"'
    ]


def test_another_record_name_is_said_as_such() -> None:
    said = reasons("expected: firstmile.R at /name", new=record(WEIGHT, name="S"), old=record(WEIGHT))
    assert said == ['the record\'s name changed from "R" to "S"']


def test_a_text_without_places_gives_no_reason() -> None:
    assert reasons("Schema being registered is incompatible", new=OLD, old=OLD) == []

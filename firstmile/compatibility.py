"""Why a registry refused a schema, in a person's words: which field, and what about it.

A registry names places in the new schema as JSON pointers (`/fields/8/type`) inside a long text of its own; what is
wrong at a place is read from both schemas.
"""

import re
from typing import Any

import orjson

_POINTER = re.compile(r"/(?:fields|name|type|symbols|items|values)(?:/\w+)*")


def reasons(registry_says: str, *, new: str, old: str) -> list[str]:
    """One sentence per place that the registry's text names; empty when it names none.

    >>> old = '{"type": "record", "name": "R", "fields": [{"name": "weight", "type": "long"}]}'
    >>> new = old.replace("long", "string")
    >>> reasons("STRING not compatible with LONG at /fields/0/type", new=new, old=old)
    ['field `weight` changed its type from "long" to "string"']
    """
    before, after = orjson.loads(old), orjson.loads(new)
    pointers = list(dict.fromkeys(_POINTER.findall(registry_says)))
    return list(dict.fromkeys(_reason(pointer.split("/")[1:], after, before) for pointer in pointers))


def _reason(steps: list[str], new: Any, old: Any) -> str:
    path: list[str] = []
    field: Any = None
    place = new
    for step in steps:
        is_field = isinstance(place, list) and step.isdigit() and int(step) < len(place)
        place = place[int(step)] if is_field else place.get(step) if isinstance(place, dict) else None
        if isinstance(place, dict) and "name" in place and is_field:
            field = place
            path.append(field["name"])
    if field is None:
        key = steps[0]
        return f"the record's {key} changed from {_text(_get(old, key))} to {_text(_get(new, key))}"
    name, known = ".".join(path), _field(old, path)
    if known is None:
        return f"field `{name}` is new and has no default"
    if known["type"] == field["type"]:
        return f"field `{name}` differs at /{'/'.join(steps)}"
    return f"field `{name}` changed its type from {_text(known['type'])} to {_text(field['type'])}"


def _field(schema: Any, path: list[str]) -> Any:
    """The field of that path in a record schema, through records of fields; None when there is none."""
    found = None
    for name in path:
        found = next((f for f in _get(schema, "fields") or [] if f["name"] == name), None)
        if found is None:
            return None
        schema = found["type"]
    return found


def _get(schema: Any, key: str) -> Any:
    return schema.get(key) if isinstance(schema, dict) else None


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()

"""What the real registry takes as the next schema of a topic, and what it says of the rest."""

import json
import uuid
from typing import Any

import pytest

from firstmile.errors import ConflictError
from firstmile.names import USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import Registry
from pipelines.topics import COMPATIBILITY, schema_text

Schema = dict[str, Any]


@pytest.fixture
def topic(stack: Settings) -> str:
    """A topic of the registry's with the schema of user actions."""
    name = f"t-{uuid.uuid4()}"
    registry = Registry(stack.registry_url)
    registry.register(name, schema_text(USER_ACTIONS))
    registry.set_compatibility(name, COMPATIBILITY)
    return name


def changed(*, without: str = "", add: Schema | None = None, **types: Any) -> str:
    schema = json.loads(schema_text(USER_ACTIONS))
    fields = [f | {"type": types.get(f["name"], f["type"])} for f in schema["fields"] if f["name"] != without]
    return json.dumps(schema | {"fields": [*fields, *([add] if add else [])]})


def test_an_added_field_with_a_default_and_a_removed_optional_one_are_taken(stack: Settings, topic: str) -> None:
    registry = Registry(stack.registry_url)
    first, _ = registry.latest(topic)
    added = registry.register(topic, changed(add={"name": "locale", "type": "string", "default": ""}))
    removed = registry.register(topic, changed(without="anonymous_id"))
    assert len({first, added, removed}) == 3
    assert Registry(stack.registry_url).latest(topic)[0] == removed


def test_a_new_required_field_is_refused_by_name_and_reason(stack: Settings, topic: str) -> None:
    with pytest.raises(ConflictError) as refused:
        Registry(stack.registry_url).register(topic, changed(add={"name": "plan", "type": "string"}))
    assert topic in str(refused.value)
    assert "field `plan` is new and has no default" in str(refused.value)


def test_a_changed_type_is_refused_by_name_and_both_types(stack: Settings, topic: str) -> None:
    nested = {"type": "map", "values": "long"}
    with pytest.raises(ConflictError) as refused:
        Registry(stack.registry_url).register(topic, changed(user_id="long", properties=nested))
    assert 'field `user_id` changed its type from "string" to "long"' in str(refused.value)
    assert "field `properties` changed its type from" in str(refused.value)
    assert "message_id" not in str(refused.value).split("said:")[0]


def test_a_refused_schema_leaves_the_one_in_use(stack: Settings, topic: str) -> None:
    registry = Registry(stack.registry_url)
    before = registry.latest(topic)
    with pytest.raises(ConflictError):
        registry.register(topic, changed(add={"name": "plan", "type": "string"}))
    assert Registry(stack.registry_url).latest(topic) == before

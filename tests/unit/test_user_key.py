"""Keys made from a frame equal those Feast serializes."""

import pytest
from feast.infra.online_stores.helpers import _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from feature_repo.online_store import content_key, user_key
from firstmile.names import PROJECT


@pytest.mark.parametrize("user_id", ["", "u", "u17", "AAA_2014J-1576513", "é🚀\0", "x" * 70_000, "user_id", PROJECT])
def test_a_users_key_is_the_one_feast_reads(user_id: str) -> None:
    entity = EntityKeyProto(join_keys=["user_id"], entity_values=[ValueProto(string_val=user_id)])
    assert user_key(user_id) == _redis_key(PROJECT, entity, entity_key_serialization_version=3)


def test_a_contents_key_is_the_one_feast_reads() -> None:
    entity = EntityKeyProto(join_keys=["content_id"], entity_values=[ValueProto(string_val="c é")])
    assert content_key("c é") == _redis_key(PROJECT, entity, entity_key_serialization_version=3)

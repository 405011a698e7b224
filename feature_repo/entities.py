"""Whom or what the features are about."""

from feast import Entity, ValueType

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="Who is being onboarded")
content = Entity(
    name="content", join_keys=["content_id"], value_type=ValueType.STRING, description="An item of the onboarding"
)

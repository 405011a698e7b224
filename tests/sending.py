"""Records into a real Kafka, as clients and the CRM write them."""

import uuid
from typing import Any

from firstmile.broker import producer
from firstmile.clock import SystemClock
from firstmile.names import PROFILES, STREAM_TOPICS, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import RecordWriter, Registry

NOW = SystemClock().now_us


class Sender:
    """Writes records as clients and the CRM do."""

    def __init__(self, settings: Settings) -> None:
        registry = Registry(settings.registry_url)
        self.producer = producer(settings)
        self.writers = {topic: RecordWriter(registry, topic) for topic in STREAM_TOPICS}

    def event(self, user: str, name: str = "Page Viewed", *, topic: str = USER_ACTIONS, **values: Any) -> bytes:
        now_us = NOW()
        record = {
            "message_id": str(uuid.uuid4()),
            "user_id": user,
            "name": name,
            "event_time": now_us,
            "received_at": now_us,
            **values,
        }
        return self.writers[topic].encode(record)

    def send(self, user: str, *values: bytes | None, topic: str = USER_ACTIONS) -> None:
        for value in values:
            self.producer.send(topic, key=user, value=value)
        self.producer.flush()

    def profile(
        self,
        user: str,
        *,
        updated_at: int | None = None,
        received_at: int | None = None,
        is_whole: bool = False,
        **traits: str,
    ) -> None:
        now_us = NOW()
        record = {
            "message_id": str(uuid.uuid4()),
            "user_id": user,
            "updated_at": updated_at or now_us,
            "received_at": received_at or now_us,
            "traits": traits,
            "is_whole": is_whole,
        }
        self.send(user, self.writers[PROFILES].encode(record), topic=PROFILES)

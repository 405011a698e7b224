"""Feast's asynchronous writes into the online store, on a real Redis: the caller's loop turns while one waits."""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pandas as pd
import pytest
import redis

from feature_repo.fields import PROFILE, PROFILE_NUMBERS, PROFILE_STRINGS, PROFILE_TIME, PROFILE_TIMES
from feature_repo.online_store import connect, feature_field, plain_value, user_key
from feature_repo.store import apply
from firstmile.settings import Settings


@pytest.fixture
def client(redis_settings: Settings) -> Iterator["redis.Redis"]:
    connection = connect(redis_settings.redis_url, timeout_s=5)
    yield connection
    connection.close()


def test_loop_turns_while_a_write_waits_for_redis(client: "redis.Redis", redis_settings: Settings) -> None:
    store, user_id = apply(redis_settings), f"u-{uuid.uuid4()}"
    row = {
        "user_id": user_id,
        PROFILE_TIME: 1,
        PROFILE_TIMES: "",
        **dict.fromkeys(PROFILE_STRINGS, "x"),
        **dict.fromkeys(PROFILE_NUMBERS, 3),
    }
    frame = pd.DataFrame([{**row, "event_timestamp": datetime(2026, 11, 26, tzinfo=UTC)}])

    async def write_while_redis_is_paused() -> bool:
        client.execute_command("CLIENT", "PAUSE", 30_000, "WRITE")
        writing = asyncio.create_task(store.write_to_online_store_async(PROFILE, df=frame))
        try:
            while not writing.done() and not client.info("clients")["blocked_clients"]:  # type: ignore[index]
                await asyncio.sleep(0.01)
            has_waited = not writing.done()
        finally:
            client.execute_command("CLIENT", "UNPAUSE")
        await writing
        return has_waited

    assert asyncio.run(write_while_redis_is_paused())
    assert plain_value(client.hget(user_key(user_id), feature_field(PROFILE, "plan"))) == "x"

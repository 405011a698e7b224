"""Rows and lags of users read on an event loop: nobody's thread waits for the store, and none has to be woken."""

import asyncio
from collections.abc import Sequence
from typing import Any

import redis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection

from feature_repo.reader import Found, OnlineReader
from firstmile.settings import Settings


class AsyncReader:
    """What `reader` reads, by connections of one event loop.

    timeout_s
        How long the store may take to answer, connecting included.
    """

    def __init__(self, settings: Settings, reader: OnlineReader, *, timeout_s: float) -> None:
        self._reader = reader
        self._timeout_s = timeout_s
        self._pool = ConnectionPool.from_url(settings.redis_url)
        self._idle: list[AbstractConnection] = []

    async def read_many(self, asked: Sequence[tuple[str, int]]) -> list[Found]:
        """Features and pipeline lag of many users, (user id, instant) each, by one trip to the store.

        What is wrong with a damaged row is in its place. Raises redis.RedisError when there is no answer in time.
        """
        trip = self._reader.trip(asked)
        try:
            async with asyncio.timeout(self._timeout_s):
                replies = await self._replies([("HMGET", key, *fields) for key, fields in trip.hashes])
        except TimeoutError:
            raise redis.TimeoutError(f"no answer within {self._timeout_s * 1_000:g} ms") from None
        return self._reader.found(trip, replies)

    async def _replies(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        while self._idle:
            try:
                return await self._ask(self._idle.pop(), commands)
            except _CLOSED:
                continue  # since it was last used, as all are that knew the store before it was restarted
        return await self._ask(self._pool.make_connection(), commands)  # type: ignore[no-untyped-call]

    async def _ask(self, connection: AbstractConnection, commands: list[tuple[Any, ...]]) -> list[Any]:
        """All replies; a connection of which one was not read is of no use any more."""
        try:
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            replies = [await _reply(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return replies


async def _reply(connection: AbstractConnection) -> Any:
    """A reply, or why this one was refused: refusals are replies too, and leave the connection as it was."""
    try:
        return await connection.read_response()
    except redis.ResponseError as error:
        return error


_CLOSED = (redis.ConnectionError, redis.TimeoutError, RuntimeError)
"""What using a connection raises that was closed: uvloop raises RuntimeError where it was reset. Our own deadline is
none of these: it cancels."""

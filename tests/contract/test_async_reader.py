"""The reader on an event loop gives what the blocking one gives, and gets over a store that hung or was restarted."""

import asyncio
import os
import signal
import socket
import struct
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
import uvloop
from conftest import settings_on_free_ports
from online_rows import write_progress, write_user
from running import poll

from feature_repo.async_reader import AsyncReader
from feature_repo.fields import ACTIVITY
from feature_repo.online_store import connect, feature_field, user_key
from feature_repo.reader import Found, OnlineReader, UserFeatures
from firstmile.clock import SystemClock
from firstmile.errors import DataError
from firstmile.local.process import find
from firstmile.local.stack import Stack
from firstmile.settings import Settings

NOW_US = SystemClock().now_us()
TIMEOUT_S = 0.3


def reader_of(settings: Settings, timeout_s: float = 10.0) -> AsyncReader:
    return AsyncReader(settings, OnlineReader(settings), timeout_s=timeout_s)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[Settings, Stack]]:
    settings = settings_on_free_ports(tmp_path / "home")
    stack = Stack(settings, with_parent=True)
    stack.up(["redis"])
    yield settings, stack
    stack.down()


def pid_of(stack: Stack) -> int:
    found = find(stack.run_folder, "redis")
    assert found is not None
    return found.pid


def test_it_reads_what_the_blocking_reader_reads_whatever_lies_in_the_store(redis_settings: Settings) -> None:
    name = uuid.uuid4().hex
    client = connect(redis_settings.redis_url, timeout_s=5)
    write_progress(client, n_partitions=redis_settings.kafka.partitions)
    for i in range(3):
        write_user(client, f"{name}-{i}", now_us=NOW_US - i, opens=[(f"c{n}", "video") for n in range(i + 1)])
    client.hset(user_key(f"{name}-1"), feature_field(ACTIVITY, "activity"), b"\x0a\x04junk")  # type: ignore[call-overload]
    client.set(user_key(f"{name}-no-hash"), "text")
    asked = [(f"{name}-{i}", NOW_US) for i in (0, 1, 2, "no-hash", "unknown")]
    (first, damaged, third, no_hash, unknown) = asyncio.run(reader_of(redis_settings).read_many(asked))
    blocking = OnlineReader(redis_settings).read_many(asked)
    assert isinstance(first[0], UserFeatures)
    assert isinstance(third[0], UserFeatures)
    assert first[0].values["content_open_total_count"] == 1
    assert third[0].values["content_open_total_count"] == 3
    assert [row.values for row, _ in blocking if isinstance(row, UserFeatures)] == [first[0].values, third[0].values]
    assert isinstance(damaged[0], DataError)
    assert isinstance(no_hash[0], redis.ResponseError)
    assert unknown[0] is None
    assert [type(row) for row, _ in blocking[1:]] == [DataError, UserFeatures, redis.ResponseError, type(None)]
    assert [lag for _, lag in blocking] == [lag for _, lag in (first, damaged, third, no_hash, unknown)]


def test_connections_are_kept_and_made_anew_when_the_store_was_restarted(own_redis: tuple[Settings, Stack]) -> None:
    settings, stack = own_redis
    reader, asked = reader_of(settings), [("u1", NOW_US)]

    async def read(n: int) -> list[object]:
        return list(await asyncio.gather(*(reader.read_many(asked) for _ in range(n))))

    with asyncio.Runner() as runner:
        runner.run(read(3))
        runner.run(read(1))
        clients = connect(settings.redis_url, timeout_s=5).info("clients")
        assert clients["connected_clients"] == 4  # type: ignore[index]  # three of the reader, and the one that asks
        os.kill(pid_of(stack), signal.SIGKILL)
        poll(lambda: find(stack.run_folder, "redis") is None, what="the killed one gone")
        stack.up(["redis"])
        assert runner.run(read(3)) == [[(None, None)]] * 3


def test_connection_that_was_reset_is_made_anew_on_the_loop_that_serves(redis_settings: Settings) -> None:
    between = Between(redis_settings.local.redis_port)

    async def around_a_reset() -> list[list[Found]]:
        async with between.listening() as port:
            local = redis_settings.local.model_copy(update={"redis_port": port})
            reader, asked = reader_of(redis_settings.model_copy(update={"local": local})), [(uuid.uuid4().hex, NOW_US)]
            before = await reader.read_many(asked)
            await between.reset()
            return [before, await reader.read_many(asked)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [[row for row, _ in found] for found in runner.run(around_a_reset())] == [[None], [None]]
    assert between.n_connections == 2


@dataclass
class Between:
    """Passes bytes between a reader and the store at `port`, until it resets the connections it has."""

    port: int
    n_connections: int = 0
    open_ones: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Its own port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for writer in self.open_ones:
                writer.close()

    async def reset(self) -> None:
        """Reset every connection, and wait until the other end has noticed."""
        for writer in self.open_ones:
            # To linger for no time is to reset.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
            await writer.wait_closed()
        self.open_ones.clear()
        for _ in range(5):  # what was sent within a machine is there at once: the loop only has to come round
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_connections += 1
        self.open_ones.append(writer)
        from_store, to_store = await asyncio.open_connection("127.0.0.1", self.port)
        back = asyncio.create_task(_pass_on(from_store, writer))
        await _pass_on(reader, to_store)
        back.cancel()
        to_store.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)


def test_refusal_that_is_not_about_one_row_is_an_error(own_redis: tuple[Settings, Stack]) -> None:
    settings, _ = own_redis
    client = connect(settings.redis_url, timeout_s=5)
    client.execute_command("ACL", "SETUSER", "default", "resetkeys", "~firstmile:*")
    with pytest.raises(redis.ResponseError, match=r"(?i)permission"):
        asyncio.run(reader_of(settings).read_many([("u1", NOW_US)]))


def test_store_that_hangs_is_given_up_in_time_and_read_again_when_it_goes_on(
    own_redis: tuple[Settings, Stack],
) -> None:
    settings, stack = own_redis
    reader, asked = reader_of(settings, TIMEOUT_S), [("u1", NOW_US)]

    async def around_a_hang() -> tuple[float, object]:
        await reader.read_many(asked)
        os.kill(pid_of(stack), signal.SIGSTOP)
        began_s = time.monotonic()
        try:
            with pytest.raises(redis.TimeoutError, match="no answer within 300 ms"):
                await reader.read_many(asked)
        finally:
            took_s = time.monotonic() - began_s
            os.kill(pid_of(stack), signal.SIGCONT)
        return took_s, await reader.read_many(asked)

    took_s, after = asyncio.run(around_a_hang())
    assert TIMEOUT_S <= took_s < 5
    assert after == [(None, None)]


def test_store_that_is_not_there_is_an_error(own_redis: tuple[Settings, Stack]) -> None:
    settings, stack = own_redis
    stack.down()
    with pytest.raises(redis.ConnectionError):
        asyncio.run(reader_of(settings).read_many([("u1", NOW_US)]))

"""One address in front of several copies of an HTTP service: the first answers, the next when it does not.

For the demo, where any process may be killed while somebody watches; in production a load balancer does this. A request
is read whole and sent again to the next copy when a copy refuses it or says nothing: asking for a decision twice is
harmless. One request per connection.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from firstmile.errors import ConflictError
from firstmile.local.ports import holder

CONNECT_S = 0.3
# The decision API promises its last byte within 0.2 s.
FIRST_BYTE_S = 0.5
LAST_CHANCE_S = 10.0
SUSPECT_S = 1.0
MAX_HEAD_BYTES = 65_536
NOBODY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    b'{"error": {"code": "no_copy", "message": "no copy of the decision API answers", "hint": "ask again in a second"}}'
)
REFUSED = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Failover:
    """Listens while the `with` lasts, in a thread of its own.

    ports
        Of the copies, on the same host, the preferred one first.
    """

    host: str
    port: int
    ports: Sequence[int]
    _suspect_until: dict[int, float] = field(default_factory=dict)
    _tasks: set["asyncio.Task[None] | None"] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __enter__(self) -> "Failover":
        try:
            self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, self.host, self.port))
        except OSError as error:
            self._loop.close()
            raise ConflictError(
                f"port {self.port} is held by {holder(self.port)}: stop it or set FIRSTMILE_SERVING__PORT"
            ) from error
        self._thread = threading.Thread(target=self._loop.run_forever, name="failover", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)  # the loop holds it weakly once the caller has hung up
        try:
            await self._answer(await _read_request(reader), writer)
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.write(REFUSED)
        except OSError:
            pass  # the caller hung up
        except asyncio.CancelledError:
            pass  # we are being stopped, by `_close`; asyncio would write a trace for it
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        now = time.monotonic()
        order = sorted(self.ports, key=lambda port: self._suspect_until.get(port, 0.0) > now)
        for port in order:
            wait_s = LAST_CHANCE_S if port == order[-1] else FIRST_BYTE_S
            try:
                await self._pass_on(port, request, writer, wait_s)
                return
            except (_NoAnswerError, TimeoutError):
                self._suspect_until[port] = time.monotonic() + SUSPECT_S
        writer.write(NOBODY)

    async def _pass_on(self, port: int, request: bytes, caller: asyncio.StreamWriter, wait_s: float) -> None:
        """Raises _NoAnswerError or TimeoutError while nothing was passed back yet."""
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(self.host, port), CONNECT_S)
        except OSError as error:
            raise _NoAnswerError from error
        try:
            writer.write(request)
            try:
                more = await asyncio.wait_for(reader.read(MAX_HEAD_BYTES), wait_s)
            except OSError as error:
                raise _NoAnswerError from error
            if not more:
                raise _NoAnswerError
            while more:
                caller.write(more)
                await caller.drain()
                more = await reader.read(MAX_HEAD_BYTES)
        finally:
            writer.close()


class _NoAnswerError(Exception):
    """A copy refused the connection or closed it without a byte."""


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """A whole request, asking for the connection to be closed after the answer. Raises ValueError for a chunked one."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if b"transfer-encoding" in fields:
        raise ValueError("a chunked request cannot be sent again")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() != b"connection"]
    body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    return b"\r\n".join([*kept, b"Connection: close", b"", body])

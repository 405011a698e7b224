"""What a connection may do before a request reaches the app: uvicorn bounds neither the head of a request nor its time.

A client that sends a head byte by byte, or none, would keep a connection for ever; one that sends headers without end
would be collected in memory. BentoML starts uvicorn itself and passes on no choice of protocol, so `guard_connections`
puts ours in the place where uvicorn looks for the default.
"""

import logging
from asyncio import TimerHandle
from typing import Any, Final

import orjson
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MAX_ADDRESS_BYTES: Final = 4_096
MAX_HEAD_BYTES: Final = 16_384
REQUEST_TIMEOUT_S: Final = 10.0
"""From a request's first byte to its last, longer than the app waits for a body, so that the app can say so; and for a
client to take its answer."""
KEEP_ALIVE_S: Final = 75
"""Between two requests: longer than most balancers wait (60 s), or they send into a connection that is closing."""

_REFUSALS: Final = {
    400: ("bad_request", "this is not HTTP", "send HTTP/1.1"),
    408: ("too_slow", f"the request did not arrive within {REQUEST_TIMEOUT_S:g} s", "send it again, in one piece"),
    414: ("address_too_long", f"an address may have {MAX_ADDRESS_BYTES} bytes", "send what you ask in the body"),
    431: ("headers_too_large", f"all headers may have {MAX_HEAD_BYTES} bytes", "send fewer cookies and headers"),
}
_OF_STRANGERS: Final = ("Invalid HTTP request received.", "Unsupported upgrade request.")


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol within limits of number, size and time; refuses in the API's form and closes."""

    max_connections: int = 4_096
    request_timeout_s: float = REQUEST_TIMEOUT_S
    keep_alive_s: int = KEEP_ALIVE_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.keep_alive_s
        self._timer: TimerHandle | None = None
        self._unread_timer: TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._status = 400
        self._is_refused = False
        self._is_idle = True  # between two requests
        self._is_in_head = False
        self._n_begun = 0
        self._n_head_bytes = 0
        self.url = b""

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or close it at once when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self.transport.close()
            return
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        if self._answering is not None:  # uvicorn tells the newest request only, others would fail with a traceback
            self._answering.disconnected = True
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that grows without ending is refused before it is whole."""
        if self._is_refused or self.transport.is_closing():
            return
        n_begun = self._n_begun + self._is_idle
        super().data_received(data)
        if self._is_in_head and self._n_begun == n_begun:  # all of these bytes are this one head's
            self._n_head_bytes += len(data)
            if self._n_head_bytes > MAX_HEAD_BYTES:
                self._refuse(414 if len(self.url) > MAX_ADDRESS_BYTES else 431)
        # An empty line between two requests begins none, but has ended uvicorn's own wait for the next one.
        if self._timer is None and self.timeout_keep_alive_task is None and not self._is_answering():
            self._start_timer()

    def on_message_begin(self) -> None:
        """The first byte of a request: its time begins."""
        super().on_message_begin()
        self._is_idle, self._is_in_head = False, True
        self._n_begun += 1
        self._n_head_bytes = 0
        self._start_timer()

    def on_headers_complete(self) -> None:
        """The head is whole. Raises ValueError when it is too large; the parser hands that on as a wrong request."""
        n_bytes = sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)
        if len(self.url) > MAX_ADDRESS_BYTES or n_bytes > MAX_HEAD_BYTES:
            self._status = 414 if len(self.url) > MAX_ADDRESS_BYTES else 431
            raise ValueError("the head is too large")
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._is_idle = True
        self._stop_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for a request that cannot be read."""
        self._refuse(self._status)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client does not take its answers: they are not kept for it for ever."""
        super().pause_writing()
        self._drop_unread()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._unread_timer is not None and not self.transport.is_closing():
            self._unread_timer.cancel()
            self._unread_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """No next request came."""
        self._close()

    def _refuse(self, status: int) -> None:
        """Say no and read the rest away: closing over unread bytes resets the connection, and the answer is lost."""
        if self._is_refused:
            return
        code, message, hint = _REFUSALS[status]
        body = orjson.dumps({"error": {"code": code, "message": message, "hint": hint}})
        head = (
            b"content-type: application/json\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        self._is_refused = True
        if self._answering is not None:
            self._answering.disconnected = True
        self.transport.write(STATUS_LINE[status] + head + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._drop_unread()
        else:
            self._close()

    def _close(self) -> None:
        """Once the answer is gone; at some time in any case."""
        if not self.transport.is_closing():
            self.transport.close()
            self._drop_unread()

    def _drop_unread(self) -> None:
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.request_timeout_s, self.transport.abort)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.request_timeout_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._is_in_head and not self._is_answering() and not self._is_refused:
            self._refuse(408)
        else:
            self._close()


def guard_connections(*, max_connections: int) -> None:
    """Let uvicorn, wherever it is started in this process without a protocol named, take ours."""
    GuardedProtocol.max_connections = max_connections
    auto.AutoHTTPProtocol = GuardedProtocol
    logging.getLogger("uvicorn.error").addFilter(is_worth_a_line)


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether it is not uvicorn's line per wrong request: strangers could fill a disk with them."""
    return record.msg not in _OF_STRANGERS

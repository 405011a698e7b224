"""The report browser: the reports folder over HTTP, on loopback, for reading alone."""

import logging
import signal
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from firstmile.errors import ConflictError
from firstmile.settings import Settings
from monitoring.page import list_page
from monitoring.report import report_names

log = logging.getLogger(__name__)

HOST = "127.0.0.1"


class ReportHandler(SimpleHTTPRequestHandler):
    """GET and HEAD of finished reports; the list of them at `/`."""

    server_version = "firstmile"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def send_head(self) -> BytesIO | BinaryIO | None:
        """The list at the root, else a file; what is hidden, or lies elsewhere by a link, is not found."""
        root = Path(self.directory).resolve()
        wanted = Path(self.translate_path(self.path)).resolve()
        if wanted == root:
            return self._send_list(root)
        if not wanted.is_relative_to(root) or any(p.startswith(".") for p in wanted.relative_to(root).parts):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """A folder without an index shows nothing."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Reports are replaced, never to be remembered; and only shown as what they are."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """To the log, not past it to stderr."""
        log.debug("%s " + format, self.address_string(), *args)

    def _send_list(self, root: Path) -> BytesIO:
        body = list_page(report_names(root)).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return BytesIO(body)


def open_browser(settings: Settings) -> ThreadingHTTPServer:
    """A server bound to loopback, not serving yet.

    Raises ConflictError when the port is in use.
    """
    settings.reports.mkdir(parents=True, exist_ok=True)
    port = settings.monitoring.ui_port
    try:
        return ThreadingHTTPServer((HOST, port), partial(ReportHandler, directory=str(settings.reports)))
    except OSError as error:
        raise ConflictError(
            f"{HOST}:{port} cannot be used: {error.strerror}; stop what listens there or set "
            "FIRSTMILE_MONITORING__UI_PORT"
        ) from error


def serve_until_stopped(server: ThreadingHTTPServer, announce: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; `announce` is given the address once it answers."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        announce(f"http://{HOST}:{server.server_address[1]}/")
        server.serve_forever()
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        signal.signal(signal.SIGTERM, before)
        server.server_close()

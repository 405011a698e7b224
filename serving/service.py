"""The BentoML service: `bentoml serve serving.service:Personalization`, or `firstmile serve`.

This module is a process's main: BentoML imports it to learn host, port and workers, so settings are read here.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from typing import Any

import bentoml
from starlette.types import ASGIApp

from firstmile.errors import FirstmileError
from firstmile.http.connections import guard_connections
from firstmile.settings import load_settings
from serving.address import PREFIX
from serving.admission import FirstLayer
from serving.api import OneDecision, build_app, build_docs_app
from serving.start_check import check_files
from serving.watchdog import Watchdog

PARENT_POLL_S = 0.5
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter while others want it. A request changes threads several times, and every
time waits this long for whoever is polling MLflow or encoding the log: with Python's own 5 ms two changes took 35 to
64 ms at 99 % beside such a thread, with this 17 to 22."""

settings = load_settings()
if bentoml.server_context.worker_index is None:  # in the process that starts the workers
    try:
        check_files(settings)
    except FirstmileError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(error.exit_code)
app = build_app(cors_origins=settings.serving.cors_origins)
guard_connections(max_connections=settings.serving.max_connections)
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # BentoML reports usage to its makers unless told not to


class Front(bentoml.Service[Any]):  # type: ignore[misc]
    """A BentoML service behind our first layer."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """What uvicorn calls."""
        return FirstLayer(super().to_asgi(is_main=is_main), app, OneDecision(app))


@bentoml.service(
    service_class=Front,
    workers=settings.serving.workers,
    http={"host": settings.serving.host, "port": settings.serving.port},
    # A line per request costs more than the answer; /metrics counts, the decision log tells.
    logging={"access": {"enabled": False}},
    traffic={"timeout": 10},
)
@bentoml.asgi_app(build_docs_app())
@bentoml.asgi_app(app, path=PREFIX)
class Personalization:
    """POST /api/personalization answers what a user should see next; /livez, /readyz, /metrics watch over it."""

    def __init__(self) -> None:
        from serving.wiring import start_process  # feast and mlflow take seconds, and only workers need them

        log_to_stderr(settings.log_level)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        if bentoml.server_context.worker_index is not None:
            _end_with(os.getppid())
        self.process = start_process(settings)
        app.state.desk = self.process.desk
        heartbeat = self.process.desk.admission.heartbeat
        heartbeat.start(asyncio.get_running_loop(), self.process.desk.metrics.loop_lag.observe)
        self.watchdog = Watchdog(heartbeat, limit_s=settings.serving.watchdog_s)
        if settings.serving.watchdog_s:
            self.watchdog.start()

    def __is_alive__(self) -> bool:
        return self.process.is_alive()

    async def __is_ready__(self) -> bool:
        return await self.process.is_ready()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Hand on the decisions that wait."""
        self.watchdog.stop()
        self.process.close()


def log_to_stderr(level: str) -> None:
    """Our own loggers to stderr: BentoML silences all but its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("serving", "feature_repo", "firstmile"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


def _end_with(parent: int) -> None:
    """End this worker when its parent is gone: killed, it could not end us, and we would keep the port."""

    def watch() -> None:
        alone: Any = threading.Event()
        while not alone.wait(PARENT_POLL_S):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, name="parent", daemon=True).start()

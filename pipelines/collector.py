"""`firstmile collect`: the HTTP tracking API, one process. Tracking calls in, Avro records in Kafka out.

A 200 is answered only after Kafka has every record of the request (acks=all on all replicas in sync).
"""

import signal
import socket
import sys

import uvicorn

from firstmile.cli import console
from firstmile.clock import SystemClock
from firstmile.errors import DependencyError
from firstmile.http.connections import guard_connections
from firstmile.http.guard import Guard
from firstmile.http.key_watch import KeyWatch, collector_key
from firstmile.product import require_product
from firstmile.setting_sections import CollectorSettings
from firstmile.settings import Settings, load_settings
from firstmile.wire import Registry
from pipelines.collector_app import Collector, build_app
from pipelines.delivery import Delivery
from pipelines.mapping import read_mapping
from pipelines.rules import read_rules
from pipelines.topics import ensure_topics, record_writers


class _Server(uvicorn.Server):
    """Says when it can work; uvicorn alone says it in a log that is off here."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            console.print(f"ready: http://{host}:{port}", highlight=False)


def run() -> None:
    """Run the HTTP tracking API until SIGTERM or Ctrl-C; requests under way are answered first."""
    collect(load_settings())


def collect(settings: Settings) -> None:
    """Serve until told to stop.

    Raises DependencyError when Kafka, the registry or the port is not to be had, DataError for a wrong file.
    """
    keys = KeyWatch(settings, collector_key(settings.collector))
    require_product(settings.product)
    rules, mapping = read_rules(settings.product_file("cleaning")), read_mapping(settings.product_file("events"))
    ensure_topics(settings)
    registry = Registry(settings.registry_url, timeout_s=settings.registry.timeout_s)
    writers = record_writers(registry)
    guard = Guard(settings.collector, lambda: keys.current)
    collector = Collector(
        settings.collector,
        writers,
        SystemClock(),
        guard,
        lambda: Delivery(settings),
        rules,
        mapping.fields["content_id"],
    )
    listening = _listen(settings.collector)
    keys.start()
    guard_connections(max_connections=settings.collector.max_connections)
    config = uvicorn.Config(
        build_app(collector),
        lifespan="on",
        log_config=None,
        access_log=False,
        # In-flight requests wait for Kafka this long at most, then they have been answered 503.
        timeout_graceful_shutdown=round(settings.kafka.timeout_s) + 5,
    )
    # uvicorn raises the signal again once it has stopped as asked for: that is exit 0.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda number, frame: sys.exit(0))
    _Server(config).run([listening])


def _listen(settings: CollectorSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # TCP by name: asyncio switches Nagle off only then, and with it on every answer took 40 ms more.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        raise DependencyError(
            f"the collector cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "stop what does, or set FIRSTMILE_COLLECTOR__PORT"
        ) from error
    return listening

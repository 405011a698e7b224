"""A process's /metrics page for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, start_http_server

from firstmile.errors import DependencyError


def serve(registry: CollectorRegistry, host: str, port: int, *, setting: str) -> Callable[[], None]:
    """Answer on a port, 0 = none; returns what stops it.

    setting
        Name of the port's setting.

    Raises DependencyError when the port is taken.
    """
    if not port:
        return lambda: None
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise DependencyError(
            f"/metrics cannot listen on {host}:{port}: {error.strerror}; stop what does, or set {setting} (0: none)"
        ) from error

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return stop

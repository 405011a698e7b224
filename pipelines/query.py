"""Runs a streaming query in the foreground until it ends, fails or is told to stop."""

import signal
import threading
from collections.abc import Callable

from pyspark.sql.streaming import StreamingQuery

from firstmile.errors import DependencyError, FirstmileError


def on_stop_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set. Call before Spark starts: a JVM takes seconds, a signal may come first."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def run_until(stopping: threading.Event, query: StreamingQuery, failure: Callable[[], FirstmileError | None]) -> None:
    """Wait for the end, then stop the query; raises what went wrong in it.

    failure
        An error of ours that a batch raised, which Spark would wrap in a Java trace.
    """
    while query.isActive and not stopping.wait(0.2):
        pass
    failed, wrapped = failure(), query.exception()
    query.stop()
    if failed:
        raise failed
    if wrapped:
        first_line = str(wrapped).splitlines()[0]
        raise DependencyError(f"{query.name} stopped: {first_line}; the lines above have the whole trace") from wrapped

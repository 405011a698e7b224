"""Runs a streaming query in the foreground until it ends, fails or is told to stop."""

import logging
import threading
from collections.abc import Callable, Sequence

from py4j.protocol import Py4JJavaError
from pyspark.sql.streaming import StreamingQuery

from firstmile.errors import ConflictError, DependencyError, FirstmileError

_IS_SECOND = "CONCURRENT_STREAM_LOG_UPDATE"
"""Spark's name for a batch that somebody else has noted in the same checkpoint."""
_IS_SPARK_55271 = 'the return value of "scala.Option.get()" is null'
"""Spark 4.1.1 ends a query whose first batch was planned before a restart: the batch is done and committed, then the
Kafka source's metrics fail on offsets that were never asked for (SPARK-55271). Only the first batch can meet it."""

log = logging.getLogger(__name__)


def run_until(
    stopping: threading.Event,
    query: StreamingQuery,
    failure: Callable[[], FirstmileError | None],
    *,
    again: Callable[[], StreamingQuery] | None = None,
    beside: StreamingQuery | None = None,
) -> None:
    """Wait for the end, then stop the query; raises what went wrong in it.

    failure
        An error of ours that a batch raised, which Spark would wrap in a Java trace.
    again
        Starts the query once more where it stopped.
    beside
        A second query that runs and ends with the first.
    """
    others = [] if beside is None else [beside]
    failed, wrapped = _wait(stopping, [query, *others], failure)
    while failed is None and again is not None and _IS_SPARK_55271 in str(wrapped.get(query.name)):
        log.info("%s has finished the batch that a kill had left; going on", query.name)
        query = again()
        failed, wrapped = _wait(stopping, [query, *others], failure)
    for other in others:
        _stop(other)
    if failed:
        raise failed
    for name, error in wrapped.items():
        if _IS_SECOND in str(error):
            raise ConflictError(
                f"a second {name} runs on the same checkpoint, this one gives way; run one per set of topics"
            ) from error
        first_line = str(error).splitlines()[0]
        raise DependencyError(f"{name} stopped: {first_line}; the lines above have the whole trace") from error


def _stop(query: StreamingQuery) -> None:
    """Stop a query; one that hangs, on a Kafka that is gone, ends with the process: its next start does the batch
    again."""
    try:
        query.stop()
    except Py4JJavaError as error:
        first_line = str(error.java_exception.getMessage()).splitlines()[0]
        log.warning("%s did not stop in time and is left: %s", query.name, first_line)


def _wait(
    stopping: threading.Event, queries: Sequence[StreamingQuery], failure: Callable[[], FirstmileError | None]
) -> tuple[FirstmileError | None, dict[str, Exception]]:
    """What went wrong, by query; the first query is stopped."""
    while all(q.isActive for q in queries) and not stopping.wait(0.2):
        pass
    failed, errors = failure(), {q.name: q.exception() for q in queries}
    _stop(queries[0])
    return failed, {name: error for name, error in errors.items() if error is not None}

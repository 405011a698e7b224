"""A sink opened in a thread of its own: a registry that takes the connection and never answers holds no decision up."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from firstmile.errors import DependencyError
from serving.kafka_sink import Sink

log = logging.getLogger(__name__)


class SinkOpener:
    """Opens a sink, one attempt at a time. Called from one thread, never waiting."""

    def __init__(self, connect: Callable[[], Sink]) -> None:
        self._connect = connect
        self._attempt: Future[Sink] | None = None

    def __call__(self) -> Sink | None:
        """The sink once it is open, None meanwhile; begins an attempt when none is under way.

        Raises DependencyError when the attempt failed; the next call begins another one.
        """
        if self._attempt is None:
            self._attempt = Future()
            threading.Thread(target=self._open, args=(self._attempt,), name="log-connect", daemon=True).start()
        if not self._attempt.done():
            return None
        attempt, self._attempt = self._attempt, None
        return attempt.result()

    def _open(self, attempt: Future[Sink]) -> None:
        try:
            sink = self._connect()
        except DependencyError as error:
            attempt.set_exception(error)
        except Exception as error:  # the thread's edge: who asks tries again
            log.exception("no way to Kafka could be opened")
            attempt.set_exception(DependencyError(f"no way to Kafka could be opened: {error!r}"))
        else:
            attempt.set_result(sink)

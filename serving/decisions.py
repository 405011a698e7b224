"""The decision log: every answer to Kafka, at least once, numbered, off the hot path. What pages showed goes the same
way (exposures.py).

`put` only queues. A background thread makes the records and hands them to the outbox, which sends them and keeps on
disk what Kafka does not take. What is lost all the same is counted, and a gap in the worker's sequence numbers.
"""

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from firstmile.names import DECISIONS
from firstmile.settings import Settings
from serving.kafka_sink import KafkaSink, Sink
from serving.outbox import Loggable, LogMetrics, Outbox
from serving.sink_opener import SinkOpener
from serving.spool import Spool

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
STEP_S: Final = 0.05
"""Between two looks at what arrived, while decisions come or the spool is sent."""
BUSY_POLL_S: Final = 0.01
FLUSH_S: Final = 2.0


class DecisionLog:
    """Numbers decisions and hands them on in the background.

    connect
        Opens the way to Kafka, in a thread of its own: it may take its time.
    worker
        Who numbers: unique per process, also over restarts.
    spool
        Where they wait on disk, given the worker.
    """

    def __init__(
        self, connect: Callable[[], Sink], spool: Callable[[str], Spool], *, max_waiting: int, metrics: LogMetrics
    ) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000:x}"
        self._outbox = Outbox(SinkOpener(connect), spool(self.worker), max_waiting=max_waiting, metrics=metrics)
        self._metrics = metrics
        self._queue: queue.Queue[tuple[int, Loggable]] = queue.Queue(max_waiting)
        self._sequence = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)

    def start(self) -> None:
        """Begin to hand on."""
        self._thread.start()

    def put(self, one: Loggable) -> bool:
        """Queue one, never waiting; False when it was dropped. From one thread."""
        sequence, self._sequence = self._sequence, self._sequence + 1
        try:
            self._queue.put_nowait((sequence, one))
        except queue.Full:
            self._metrics.log_dropped.labels("queue_full").inc()
            return False
        return True

    @property
    def n_waiting(self) -> int:
        """Decisions that Kafka has not acknowledged."""
        return self._queue.qsize() + self._outbox.n_waiting

    def is_alive(self) -> bool:
        """Whether decisions are still handed on."""
        return self._thread.is_alive()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """Hand on what waits; what Kafka does not take in this time stays on disk for the next worker."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        outbox, now_s, stepped_s = self._outbox, time.monotonic(), 0.0
        outbox.open()
        while not (self._stop.is_set() and self._queue.empty()):
            try:
                self._take(self._queue.get(timeout=BUSY_POLL_S if outbox.is_busy(now_s=now_s) else POLL_S))
            except queue.Empty:
                stepped_s = 0.0
            now_s = time.monotonic()
            if now_s - stepped_s >= STEP_S:
                outbox.step(now_s=now_s)
                self._metrics.log_queue.set(self.n_waiting)
                stepped_s = now_s
        outbox.close(timeout_s=FLUSH_S)

    def _take(self, numbered: tuple[int, Loggable]) -> None:
        sequence, one = numbered
        try:
            record = one.record(worker=self.worker, sequence=sequence)
        except Exception:  # the thread's edge: one that cannot be told must not be the last one told
            log.exception("number %d of %s is not logged", sequence, self.worker)
            self._metrics.log_dropped.labels("unfit").inc()
            return
        self._outbox.take(record, now_s=time.monotonic())


def kafka_log(settings: Settings, metrics: LogMetrics, topic: str = DECISIONS) -> DecisionLog:
    """A log to a topic of the settings' Kafka, with its spool under their home; not started."""
    serving, folder = settings.serving, settings.home / topic.rpartition(".")[2]
    return DecisionLog(
        lambda: KafkaSink(settings, topic),
        lambda worker: Spool(folder, worker, max_bytes=serving.log_spool_mb * 1_000_000),
        max_waiting=serving.log_queue,
        metrics=metrics,
    )

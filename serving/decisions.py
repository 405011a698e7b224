"""The decision log: every answer to Kafka, off the hot path.

`put` only queues. A background thread encodes and produces; while Kafka or the registry is away the queue fills, and
what no longer fits is dropped, counted, and visible as a gap in the worker's sequence numbers.
"""

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message

from firstmile.broker import producer
from firstmile.errors import DependencyError, WireError
from firstmile.names import DECISIONS
from firstmile.settings import Settings
from firstmile.wire import RecordWriter, Registry
from serving.answers import Decision
from serving.metrics import Metrics

log = logging.getLogger(__name__)

RETRY_S = 1.0
POLL_S = 0.2
DELIVERY_TIMEOUT_MS = 600_000
"""How long Kafka may be away before decisions it has not taken are lost."""
REGISTRY_TIMEOUT_S = 3.0


class Sink(Protocol):
    """Where records go: Kafka, or a list."""

    def send(self, key: str, record: Mapping[str, Any]) -> None:
        """Take one record. Raises DependencyError when this sink cannot go on, WireError when the record is unfit."""
        ...

    def poll(self) -> None:
        """Notice what was delivered since."""
        ...

    def flush(self, timeout_s: float) -> int:
        """Wait for what is on its way; how many were not delivered."""
        ...


class KafkaSink:
    """Records to personalization.decisions, with the schema the registry has now."""

    def __init__(self, settings: Settings, metrics: Metrics, is_stopping: Callable[[], bool]) -> None:
        registry = Registry(settings.registry_url, timeout_s=REGISTRY_TIMEOUT_S)
        self._writer = RecordWriter(registry, DECISIONS)
        self._metrics = metrics
        self._is_stopping = is_stopping
        self._is_away = False
        self._producer = producer(
            settings,
            **{
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "queue.buffering.max.messages": settings.serving.log_queue,
                "log_level": 2,  # a line per failed connect otherwise, ten a second while Kafka is away
                "error_cb": self._troubled,
                "delivery.report.only.error": False,
            },
        ).producer

    def send(self, key: str, record: Mapping[str, Any]) -> None:
        """Produce, waiting while the client's own queue is full."""
        value = self._writer.encode(record)
        while True:
            try:
                self._producer.produce(DECISIONS, value=value, key=key, on_delivery=self._delivered)
                return
            except BufferError:
                if self._is_stopping():
                    raise DependencyError("Kafka is away and the process is stopping") from None
                self._producer.poll(POLL_S)
            except KafkaException as error:
                raise DependencyError(f"Kafka refuses decisions: {error.args[0].str()}") from error

    def poll(self) -> None:
        """Serve delivery reports."""
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> int:
        """Wait for acknowledgements."""
        return int(self._producer.flush(timeout_s))

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._is_away = False
            self._metrics.log_sent.inc()
        else:
            self._metrics.log_dropped.labels("not_delivered").inc()

    def _troubled(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._is_away:
            self._is_away = True
            log.warning("Kafka is away, decisions wait: %s", error.str())


class DecisionLog:
    """Numbers decisions and hands them on in the background.

    worker
        Who numbers: unique per process, also over restarts.
    """

    def __init__(self, connect: Callable[[], Sink], *, max_waiting: int, metrics: Metrics) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000:x}"
        self._connect = connect
        self._metrics = metrics
        self._queue: queue.Queue[tuple[int, Decision]] = queue.Queue(max_waiting)
        self._sequence = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)

    def start(self) -> None:
        """Begin to hand on."""
        self._thread.start()

    def put(self, decision: Decision) -> bool:
        """Queue one decision, never waiting; False when it was dropped. From one thread."""
        sequence, self._sequence = self._sequence, self._sequence + 1
        try:
            self._queue.put_nowait((sequence, decision))
        except queue.Full:
            self._metrics.log_dropped.labels("queue_full").inc()
            return False
        return True

    @property
    def n_waiting(self) -> int:
        """Decisions queued and not yet handed on."""
        return self._queue.qsize()

    def is_alive(self) -> bool:
        """Whether decisions are still handed on."""
        return self._thread.is_alive()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """Hand on what waits, as far as the time allows."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def is_stopping(self) -> bool:
        """Whether stop was asked for."""
        return self._stop.is_set()

    def _run(self) -> None:
        sink: Sink | None = None
        waiting: tuple[int, Decision] | None = None
        is_away = False
        while True:
            self._metrics.log_queue.set(self._queue.qsize() + (waiting is not None))
            try:
                waiting = waiting or self._queue.get(timeout=POLL_S)
            except queue.Empty:
                if sink is not None:
                    sink.poll()
                if self._stop.is_set():
                    break
                continue
            try:
                sink = sink or self._connect()
                sequence, decision = waiting
                sink.send(decision.ask.user_id, decision.record(worker=self.worker, sequence=sequence))
                waiting, is_away = None, False
            except WireError as error:
                waiting = None
                self._metrics.log_dropped.labels("unfit").inc()
                log.error("a decision is not logged: %s", error)
            except DependencyError as error:
                if not is_away:
                    log.warning("decisions wait: %s", error)
                sink, is_away = None, True
                if self._stop.wait(RETRY_S):
                    break
        self._metrics.log_dropped.labels("stopped").inc(self._queue.qsize() + (waiting is not None))
        if sink is not None:
            sink.flush(2.0)


def kafka_log(settings: Settings, metrics: Metrics) -> DecisionLog:
    """A log to the settings' Kafka; not started."""
    decisions: DecisionLog = DecisionLog(
        lambda: KafkaSink(settings, metrics, decisions.is_stopping),
        max_waiting=settings.serving.log_queue,
        metrics=metrics,
    )
    return decisions

"""Records to Kafka from an event loop: one future a request, done when Kafka has every record of it.

The producer's callbacks run in one polling thread; a request waits for its future alone, nothing flushes.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from firstmile.broker import kafka_must_answer, producer
from firstmile.errors import DependencyError
from firstmile.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.1
MAX_WAITING = 50_000
"""Records not yet acknowledged past which new ones are refused at once: about two seconds of a healthy broker."""

Queued = tuple[str, str, bytes]
"""topic, key, value"""


class Delivery:
    """Sends records and knows when Kafka has them. Made inside the event loop; `close` it."""

    def __init__(self, settings: Settings) -> None:
        self._servers = settings.kafka_servers
        self._timeout_s = settings.kafka.timeout_s
        out = producer(
            settings,
            **{
                "error_cb": self._on_error,
                "queue.buffering.max.messages": 2 * MAX_WAITING,
                "delivery.report.only.error": False,
            },
        )
        self._producer: Producer = out.producer
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self.fatal: str | None = None
        self._thread = threading.Thread(target=self._poll, name="kafka-delivery", daemon=True)
        self._thread.start()

    async def send(self, records: Sequence[Queued]) -> None:
        """Return when Kafka has all of them (acks=all).

        Raises DependencyError when it refuses one, stays silent for settings.kafka.timeout_s, or too many records
        wait already; some of the records may be in Kafka then, so a client repeats them under the same ids.
        """
        if self.fatal is not None:
            raise DependencyError(f"the producer for Kafka at {self._servers} has failed for good: {self.fatal}")
        if len(self._producer) + len(records) > MAX_WAITING:
            raise DependencyError(f"{len(self._producer)} records already wait for Kafka at {self._servers}")
        waiting = _Waiting(self._loop, len(records))
        self._queue(records, waiting)
        failure = await asyncio.shield(waiting.future)
        if failure is not None:
            raise DependencyError(f"Kafka at {self._servers} did not take the events: {failure}")

    def check(self, topic: str, timeout_s: float) -> None:
        """Blocks until Kafka has answered; raises DependencyError when it does not within the timeout."""
        with kafka_must_answer(self._servers):
            self._producer.list_topics(topic, timeout=timeout_s)

    def close(self) -> int:
        """Deliver what waits, then stop; returns the number of records Kafka never acknowledged."""
        left = int(self._producer.flush(self._timeout_s))
        self._stopping.set()
        self._thread.join()
        return left

    def _queue(self, records: Iterable[Queued], waiting: "_Waiting") -> None:
        for topic, key, value in records:
            try:
                self._producer.produce(topic, value=value, key=key, on_delivery=waiting.delivered)
            except (BufferError, KafkaException) as error:
                waiting.failed(str(error))

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(POLL_S)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.fatal = error.str()
            log.error("Kafka producer: %s; restart the collector", error.str())


class _Waiting:
    """The records of one request that have no answer yet. Counted in the polling thread and in the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, n_records: int) -> None:
        self.future: asyncio.Future[str | None] = loop.create_future()
        self._loop = loop
        self._lock = threading.Lock()
        self._n_left = n_records
        self._failure: str | None = None
        if not n_records:
            self.future.set_result(None)

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        self.failed(error.str()) if error is not None else self._count(None)

    def failed(self, reason: str) -> None:
        self._count(reason)

    def _count(self, failure: str | None) -> None:
        with self._lock:
            self._n_left -= 1
            self._failure = self._failure or failure
            is_last = self._n_left == 0
        if is_last and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.future.done():
            self.future.set_result(self._failure)

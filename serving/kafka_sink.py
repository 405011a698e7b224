"""Where the decision log's records go: Kafka, with the schema the registry has now; or a list, in tests."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from confluent_kafka import KafkaError, KafkaException, Message

from firstmile.broker import producer
from firstmile.errors import DependencyError, WireError
from firstmile.names import DECISIONS
from firstmile.settings import Settings
from firstmile.wire import RecordWriter, Registry

log = logging.getLogger(__name__)

DELIVERY_TIMEOUT_MS: Final = 30_000
"""After it the client gives a record back, and it is sent anew from the spool."""
RECONNECT_MS: Final = 1_000
REGISTRY_TIMEOUT_S: Final = 3.0
UNFIT: Final = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD)
"""What Kafka will not take however often it is asked."""

Outcome = Literal["sent", "failed", "unfit"]
OnDone = Callable[[Outcome], None]


class Sink(Protocol):
    """Takes records and says, when polled, what became of each."""

    def send(self, key: str, record: Mapping[str, Any], on_done: OnDone) -> None:
        """Take one record. Raises DependencyError when this sink cannot go on, WireError when the record is unfit."""
        ...

    def poll(self) -> None:
        """Say what is known by now."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait for what is on its way, and say it."""
        ...


class KafkaSink:
    """Records to a topic.

    Raises DependencyError when the registry does not say with which schema.
    """

    def __init__(self, settings: Settings, topic: str = DECISIONS) -> None:
        registry = Registry(settings.registry_url, timeout_s=REGISTRY_TIMEOUT_S)
        self._topic = topic
        self._writer = RecordWriter(registry, topic)
        self._is_away = False
        self._producer = producer(
            settings,
            **{
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "reconnect.backoff.max.ms": RECONNECT_MS,
                "log_level": 2,  # a line per failed connect otherwise, ten a second while Kafka is away
                "error_cb": self._troubled,
                "delivery.report.only.error": False,
            },
        ).producer

    def send(self, key: str, record: Mapping[str, Any], on_done: OnDone) -> None:
        """Encode and queue; as agreed."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._is_away = False
                on_done("sent")
            else:
                on_done("unfit" if error.code() in UNFIT else "failed")

        value = self._writer.encode(record)
        try:
            self._producer.produce(self._topic, value=value, key=key, on_delivery=delivered)
        except BufferError as error:
            raise DependencyError("the Kafka client takes no more decisions") from error
        except KafkaException as error:
            if error.args[0].code() in UNFIT:
                raise WireError(f"Kafka does not take a record of {len(value)} bytes: {error.args[0].str()}") from error
            raise DependencyError(f"Kafka refuses decisions: {error.args[0].str()}") from error

    def poll(self) -> None:
        """Serve delivery reports."""
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> None:
        """Wait for acknowledgements."""
        self._producer.flush(timeout_s)

    def _troubled(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._is_away:
            self._is_away = True
            log.warning("Kafka is away, decisions wait on disk: %s", error.str())

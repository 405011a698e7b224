"""An AdminClient over a dictionary: which topics there are, and where their partitions end."""

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition

Futures = dict[Any, "Future[Any]"]


@dataclass
class FakeKafka:
    """End offsets of each topic's partitions; `is_away`: a request's time is over before it is answered."""

    topics: dict[str, list[int]] = field(default_factory=dict)
    is_away: bool = False

    def describe_topics(self, wanted: TopicCollection, request_timeout: float) -> Futures:
        """Topics with their partitions, or that there is none of the name."""
        return {topic: self._future(self.topics.get(topic)) for topic in wanted.topic_names}

    def list_offsets(self, wanted: Iterable[TopicPartition], request_timeout: float) -> Futures:
        """Where partitions end."""
        ends = {(topic, i): end for topic, found in self.topics.items() for i, end in enumerate(found)}
        return {tp: self._future(ends.get((tp.topic, tp.partition))) for tp in wanted}

    def _future(self, found: list[int] | int | None) -> "Future[Any]":
        future: Future[Any] = Future()
        if self.is_away or found is None:
            code = KafkaError._TIMED_OUT if self.is_away else KafkaError.UNKNOWN_TOPIC_OR_PART
            future.set_exception(KafkaException(KafkaError(code)))
        else:
            future.set_result(SimpleNamespace(partitions=found, offset=found))
        return future

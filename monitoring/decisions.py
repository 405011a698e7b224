"""The decision log as frames: what every report is made from. Here monitoring begins.

Records come from Kafka, partition by partition up to where it ended when the reading began; no offset is committed, so
every run sees the log anew. A record may be there twice (a producer's retry, a replay): the first of a request counts.
"""

import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from confluent_kafka import Consumer, KafkaError, TopicPartition

from firstmile.broker import consumer, describe_topics, kafka_must_answer
from firstmile.clock import to_us
from firstmile.errors import DataError, DependencyError, WireError
from firstmile.names import DECISIONS
from firstmile.settings import Settings
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from firstmile.wire import Record, RecordReader, Registry

BATCH: Final = 1_000
POLL_S: Final = 0.5
SCORED_RUNGS: Final = ("model", "partial")
"""Rungs whose vector and predictions belong together: a cached answer repeats older predictions, without a vector."""

NOTHING: Final = "(?!)"
"""A pattern that fits nowhere: of a product that audits nothing."""
FIELDS: Final = ("request_id", "user_id", "rung", "fallback", "arm", "flow", "latency_ms", "feature_lag_ms")
MAPS: Final = ("features", "predictions", "models")
_AUDIT: Final = re.compile(rf"(?:^|[^a-z])(?:{'|'.join(AUDIT_ATTRIBUTES) or NOTHING})(?:$|[^a-z])")


@dataclass(frozen=True)
class DecisionFrames:
    """Decisions, one row each, in four frames of the same index.

    answers
        decided_us (µs since epoch), reasons, and FIELDS.
    features
        The vectors by feature name; NaN: not known.
    predictions
        Probabilities by `model` or `model:class`; NaN: not asked.
    models
        Version by model; missing: the model did not answer.
    """

    answers: pd.DataFrame
    features: pd.DataFrame
    predictions: pd.DataFrame
    models: pd.DataFrame

    def where(self, mask: npt.NDArray[np.bool_]) -> "DecisionFrames":
        """The decisions a mask keeps."""
        return DecisionFrames(*(frame[mask] for frame in (self.answers, self.features, self.predictions, self.models)))

    def scored(self) -> "DecisionFrames":
        """The decisions models answered from a vector that was logged."""
        return self.where(self.answers["rung"].isin(SCORED_RUNGS).to_numpy())

    def of_version(self, model: str, version: str) -> "DecisionFrames":
        """The decisions this version of a model took part in."""
        if model not in self.models:
            return self.where(np.zeros(len(self.models), bool))
        return self.where((self.models[model] == version).to_numpy())


@dataclass(frozen=True)
class DecisionLog:
    """What was read.

    n_unread
        Older records left unread, more than a run looks at.
    """

    decisions: DecisionFrames
    n_records: int = 0
    n_repeated: int = 0
    n_unreadable: int = 0
    n_unread: int = 0


def read_decisions(settings: Settings) -> DecisionLog:
    """The newest decisions, at most `monitoring.max_decisions`.

    Raises DependencyError when Kafka or the registry does not answer, DataError when there is no topic or an audit
    attribute was logged.
    """
    reader = RecordReader(Registry(settings.registry_url, timeout_s=settings.registry.timeout_s))
    parts, waiting, n_records, n_unreadable = [], [], 0, 0
    spans, n_unread = _spans(settings)
    for value in _values(settings, spans):
        n_records += 1
        try:
            waiting.append(reader.decode(value))
        except WireError:
            n_unreadable += 1
        if len(waiting) == BATCH:  # as frames they take a tenth of the memory
            parts.append(frames(waiting))
            waiting = []
    return log_of([*parts, frames(waiting)], n_records=n_records, n_unreadable=n_unreadable, n_unread=n_unread)


def log_of(
    parts: Sequence[DecisionFrames], *, n_records: int = 0, n_unreadable: int = 0, n_unread: int = 0
) -> DecisionLog:
    """What was read, the first record of each request alone. Raises DataError when an audit attribute was logged."""
    found = join(parts)
    refuse_audit(found)
    is_first = ~found.answers["request_id"].duplicated().to_numpy()
    return DecisionLog(found.where(is_first), n_records, int((~is_first).sum()), n_unreadable, n_unread)


def frames(records: Sequence[Record]) -> DecisionFrames:
    """Records of personalization.decisions as frames. Raises DataError when one is no decision."""
    try:
        answers = pd.DataFrame.from_records([{name: r[name] for name in FIELDS} for r in records], columns=list(FIELDS))
        answers["decided_us"] = np.array([to_us(r["decided_at"]) for r in records], np.int64)
        answers["reasons"] = pd.Series([tuple(r["reasons"]) for r in records], dtype=object)
        features, predictions, models = (pd.DataFrame([r[name] for r in records]) for name in MAPS)
    except KeyError as error:
        raise DataError(f"a record of {DECISIONS} has no field {error}: its schema is not that of a decision") from None
    numbers = {"latency_ms": np.float64, "feature_lag_ms": np.float64}
    return DecisionFrames(
        answers.astype(numbers), features.astype(np.float64), predictions.astype(np.float64), models.astype(object)
    )


def join(parts: Sequence[DecisionFrames]) -> DecisionFrames:
    """One after the other, numbered anew; a column some parts lack is missing there."""
    filled = [part for part in parts if len(part.answers)] or [frames([])]
    names = ("answers", *MAPS)
    return DecisionFrames(*(pd.concat([getattr(part, name) for part in filled], ignore_index=True) for name in names))


def require(log: DecisionLog, *, at_least: int) -> DecisionFrames:
    """The scored decisions. Raises DataError saying how many there are when they are too few to say anything."""
    scored = log.decisions.scored()
    n_scored, n_all = len(scored.answers), len(log.decisions.answers)
    if n_scored >= at_least:
        return scored
    rungs = ", ".join(f"{n} {rung}" for rung, n in log.decisions.answers["rung"].value_counts().items())
    raise DataError(
        f"the decision log has {n_scored} decisions answered by models, {at_least} are needed "
        f"(of {n_all} decisions in all{': ' + rungs if rungs else ''}); ask for more (`firstmile decide USER`) while "
        "models are promoted and users have rows, or lower FIRSTMILE_MONITORING__MIN_DECISIONS"
    )


def refuse_audit(found: DecisionFrames) -> None:
    """Raise DataError when an audit attribute was logged, also as part of a name (`gender`, `user_audit__region`)."""
    refuse_audit_names([*found.features.columns, *found.predictions.columns], where=f"the decision log ({DECISIONS})")


def refuse_audit_names(names: Iterable[str], *, where: str) -> None:
    """Raise DataError naming the audit attributes among column names.

    >>> refuse_audit_names(["n_pages", "opens_guide"], where="here")
    """
    found = sorted(name for name in names if _AUDIT.search(name.lower()))
    if found:
        raise DataError(
            f"{where} holds audit attributes: {', '.join(found)}. They may be in the view user_audit alone; take them "
            "out of the feature service, train and promote again, and let the log expire or delete its records"
        )


def _spans(settings: Settings) -> tuple[dict[int, tuple[int, int]], int]:
    """First and end offset to read by partition, and how many records before them stay unread."""
    topic = describe_topics(settings, [DECISIONS]).get(DECISIONS)
    if topic is None:
        raise DataError(f"Kafka at {settings.kafka_servers} has no topic {DECISIONS}; `firstmile topics` makes it")
    per_partition = -(-settings.monitoring.max_decisions // topic.n_partitions)
    spans, n_unread = {}, 0
    client = _client(settings)
    with closing(client), kafka_must_answer(settings.kafka_servers):
        for partition in range(topic.n_partitions):
            where = TopicPartition(DECISIONS, partition)
            first, end = client.get_watermark_offsets(where, timeout=settings.kafka.timeout_s)
            spans[partition] = (max(first, end - per_partition), end)
            n_unread += spans[partition][0] - first
    return spans, n_unread


def _values(settings: Settings, spans: dict[int, tuple[int, int]]) -> Iterator[bytes]:
    left = {partition: end for partition, (first, end) in spans.items() if first < end}
    client = _client(settings)
    try:
        client.assign([TopicPartition(DECISIONS, p, spans[p][0]) for p in left])
        deadline = time.monotonic() + settings.kafka.timeout_s
        while left:
            messages = client.consume(BATCH, timeout=POLL_S)
            if messages:
                deadline = time.monotonic() + settings.kafka.timeout_s
            elif time.monotonic() > deadline:
                raise DependencyError(
                    f"Kafka at {settings.kafka_servers} stopped giving {DECISIONS}: nothing in "
                    f"{settings.kafka.timeout_s:g} s, partitions {sorted(left)} unfinished; see `firstmile status`"
                )
            for message in messages:
                yield from _value(message, left)
    finally:
        client.close()


def _value(message: Any, left: dict[int, int]) -> Iterator[bytes]:
    """A message's bytes, if it lies before the end; strikes a finished partition off `left`."""
    partition, error = message.partition(), message.error()
    if error is not None and error.code() == KafkaError._PARTITION_EOF:
        left.pop(partition, None)
    elif error is not None:
        raise DependencyError(f"reading {DECISIONS} failed: {error.str()}")
    elif partition in left:
        if message.offset() < left[partition]:
            yield message.value() or b""
        if message.offset() >= left[partition] - 1:
            del left[partition]


def _client(settings: Settings) -> Consumer:
    return consumer(settings, group=f"monitoring-{uuid.uuid4()}", **{"enable.partition.eof": True})

"""Records of Kafka to what is learned from: decisions that carry a vector, opens of content, the time read up to."""

import math
from array import array
from collections.abc import Sequence
from typing import Final

from firstmile.clock import to_us
from firstmile.names import DECISIONS, ENRICHED, USER_ACTIONS
from firstmile.wire import Record
from training.online_clock import Partition
from training.online_join import Opened, Shown
from training.online_state import Batch

FAMILY: Final = "content_open"
TOPICS: Final = (DECISIONS, ENRICHED)


def take(record: Record, partition: Partition, batch: Batch, *, features: Sequence[str], now_us: int) -> None:
    """Add one record of either topic to the batch.

    features
        Names in the order of the vector; others a decision has are left out.
    now_us
        No time is taken to be later than this: a wrong clock somewhere must not close every window.

    Raises KeyError when the record lacks a field.
    """
    if partition[0] == DECISIONS:
        batch.counts["n_decisions"] += 1
        _advance(batch, partition, min(to_us(record["decided_at"]), now_us))
        _decision(record, batch, features)
        return
    batch.counts["n_events"] += 1
    # The stream writes a batch topic by topic, so only within one of them do times go up; most events are in this one.
    if record["source_topic"] == USER_ACTIONS:
        _advance(batch, partition, min(to_us(record["received_at"]), now_us))
    if record["family"] == FAMILY and record["content_id"] is not None:
        event_us, received_us = to_us(record["event_time"]), to_us(record["received_at"])
        batch.opened.append(Opened(record["user_id"], record["content_id"], event_us, received_us))


def _decision(record: Record, batch: Batch, features: Sequence[str]) -> None:
    # Rungs below `partial` log no vector: there is nothing to learn from.
    if not record["features"]:
        batch.counts["n_without_vector"] += 1
    elif not record["ranking"]:
        batch.counts["n_nothing_recommended"] += 1
    else:
        batch.shown.append(
            Shown(
                record["request_id"],
                record["user_id"],
                to_us(record["decided_at"]),
                tuple(record["ranking"]),
                row(record["features"], features),
            )
        )


def row(values: Record, features: Sequence[str]) -> "array[float]":
    """A vector by names as a row, NaN = not known.

    >>> row({"n_pages": 2.0, "other": 1.0}, ["n_pages", "n_contents"])
    array('d', [2.0, nan])
    """
    found = (values.get(name) for name in features)
    return array("d", [math.nan if value is None else value for value in found])


def _advance(batch: Batch, partition: Partition, to_us_: int) -> None:
    batch.clocks[partition] = max(batch.clocks.get(partition, 0), to_us_)

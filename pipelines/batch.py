"""One micro-batch, and the order of its effects:

    progress still ours? ─► dead letters and enriched events, flushed ─► rows ─► progress record ─► (Spark's commit)

Killed between any two, the batch is done again: side outputs carry their input's position, rows their fences.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import redis
from numpy.typing import NDArray

from feature_repo import progress
from feature_repo.progress import Partition, Progress
from firstmile.broker import AcknowledgedProducer
from firstmile.clock import iso
from firstmile.errors import DependencyError, StoreLossError
from firstmile.names import CONTEXT, DEAD_LETTERS, ENRICHED, PROFILES
from pipelines.clean import CleanEvents, EventMapping, clean, clean_profiles
from pipelines.enrich import SideOutputs
from pipelines.reading import TOMBSTONE
from pipelines.rows import Changes, Latest, Stored, apply_changes, read_users
from pipelines.rules import Rules, read_rules
from pipelines.segment import segments
from pipelines.step_timer import StepTimer
from pipelines.unknown_names import UnknownNames

log = logging.getLogger(__name__)

Offsets = Mapping[Partition, int]
STEPS = ("side_outputs", "rows", "progress")
"""Names of the effects, for tests that stop between two of them."""


@dataclass
class BatchWriter:
    """Carries out the effects of a batch.

    after
        Called with the name of each effect when it has happened.
    timer
        Restarted by whoever begins a batch; holds the time of its steps when it is written.
    """

    client: "redis.Redis"
    producer: AcknowledgedProducer
    outputs: SideOutputs
    mapping: EventMapping
    topic_ids: Mapping[str, str]
    after: Callable[[str], None] = lambda _: None
    totals: dict[str, int] = field(default_factory=dict)
    rules: Rules = field(default_factory=read_rules)
    unknown: UnknownNames = field(default_factory=UnknownNames)
    timer: StepTimer = field(default_factory=StepTimer)

    def check(self, start: Offsets) -> dict[Partition, Progress]:
        """Progress records, if the store holds everything before a batch's start.

        Raises StoreLossError when it does not, DependencyError when Redis does not answer.
        """
        try:
            stored = progress.read(self.client, start)
        except redis.RedisError as error:
            raise DependencyError(f"Redis does not answer: {error}; start the stream again when it does") from error
        for partition, offset in start.items():
            record = stored.get(partition)
            name, number = partition
            if record is None:  # the stream writes one for every partition before its first batch
                raise StoreLossError(
                    f"Redis has no progress record of {name}/{number}, yet the stream was at offset {offset}: the "
                    "online store was emptied; nothing was written. Stop the stream and run `firstmile recover`"
                )
            if record.topic_id != self.topic_ids.get(name, record.topic_id):
                raise StoreLossError(
                    f"Redis has the progress of topic {name}, id {record.topic_id}, the stream reads the one with "
                    f"id {self.topic_ids[name]}: the online store was rolled back to a copy from before the topic was "
                    "made anew; nothing was written. Stop the stream and run `firstmile recover`"
                )
            if record.next_offset < offset:
                raise StoreLossError(
                    f"Redis is at offset {record.next_offset} of {name}/{number}, the stream at {offset}: the online "
                    "store was rolled back to an older copy; nothing was written. Stop the stream and run "
                    "`firstmile recover`"
                )
        return stored

    def write(self, table: pa.Table, *, start: Offsets, end: Offsets) -> dict[str, int]:
        """Carry out all effects of a decoded batch; returns counts.

        Raises StoreLossError before any write when the store is not the one the batch belongs to.
        """
        run, guard = progress.run_id(self.client), progress.guard(self.client)
        self.check(start)
        expected = progress.read(self.client, {**start, **end})  # a partition added meanwhile is in `end` alone
        self.timer.lap("check")
        is_good = pc.is_null(table["reason"])
        is_tombstone = pc.equal(table["reason"], TOMBSTONE).fill_null(False)
        dead = table.filter(pc.and_(pc.invert(is_good), pc.invert(is_tombstone)))
        changes = _changes(table.filter(is_good), table.filter(is_tombstone), self)
        self.timer.lap("clean")
        stored = read_users(self.client, changes.users())
        self.timer.lap("read_rows")
        self._send(changes.events, stored, dead)
        self.timer.lap("side_outputs")
        written = apply_changes(
            self.client,
            changes,
            stored,
            guard=guard,
            before_writing=self._flush,  # Kafka takes them while the rows are folded
            on_conflict=lambda: self._still(start, expected),
            lap=self.timer.lap,
        )
        self.after("rows")
        progress.write(self.client, expected, _progress(table, expected, end, self.topic_ids), run=run)
        self.timer.lap("progress")
        self.after("progress")
        counts = {"n_records": table.num_rows, "n_dead_letters": dead.num_rows, **changes.events.counts}
        counts |= vars(written)
        self.unknown.add(changes.events.unknown_names())
        for name, n in counts.items():
            self.totals[name] = self.totals.get(name, 0) + n
        return counts

    def _still(self, start: Offsets, expected: Mapping[Partition, Progress]) -> bytes:
        guard = progress.guard(self.client)
        self.check(start)
        if progress.read(self.client, expected) != expected:
            raise StoreLossError("progress moved while a batch was being written: a second stream runs; stop one")
        return guard

    def _flush(self) -> None:
        self.producer.flush()
        self.timer.lap("flush")
        self.after("side_outputs")

    def _send(self, events: CleanEvents, stored: Stored, dead: pa.Table) -> None:
        profiles = dict(zip(stored.user_ids, stored.profiles, strict=True))
        self.producer.send_all(ENRICHED, self.outputs.enriched(events, profiles, _segments(events, stored)))
        for dead_key, value in self.outputs.dead_letters(dead):
            self.producer.send(DEAD_LETTERS, key=dead_key, value=value)
        if dead.num_rows:
            reasons = dead["reason"].value_counts().to_pylist()
            log.warning("dead letters: %s", ", ".join(f"{r['counts']} {r['values']}" for r in reasons))


def _segments(events: CleanEvents, stored: Stored) -> NDArray[np.object_]:
    index = {user_id: i for i, user_id in enumerate(stored.user_ids)}
    user = np.asarray(events.frame["user_id"].map(index), np.int64)
    return segments(stored.rows, user, np.asarray(events.frame["received_us"], np.int64), stored.profiles)


def _changes(good: pa.Table, tombstones: pa.Table, by: BatchWriter) -> Changes:
    is_profile = pc.equal(good["topic"], PROFILES)
    frame = good.filter(pc.invert(is_profile)).to_pandas()
    events = clean(frame.assign(topic_id=frame["topic"].map(dict(by.topic_ids))), by.mapping, by.rules)
    said = good.filter(is_profile).to_pandas()
    kept = clean_profiles(said, by.rules)
    events = events.counting(n_dropped_internal=len(said) - len(kept))
    profiles = _latest(kept, "updated_us")
    for row in tombstones.to_pylist():
        user_id = row["key"].decode(errors="replace")
        profiles[user_id] = Latest(row["at_us"], row["at_us"], {}, is_deleted=True)
    return Changes(events, profiles, _latest(events.frame[events.frame["topic"] == CONTEXT], "event_us"))


def _latest(frame: pd.DataFrame, source_time: str) -> dict[str, Latest]:
    """The newest record per user; among equal times the greatest message id, so that order does not matter."""
    if frame.empty:
        return {}
    newest = frame.sort_values([source_time, "message_id"]).drop_duplicates("user_id", keep="last")
    return {
        row["user_id"]: Latest(int(row[source_time]), int(row["received_us"]), dict(row["properties"] or []))
        for row in newest.to_dict("records")
    }


def _progress(
    table: pa.Table, expected: Mapping[Partition, Progress], end: Offsets, topic_ids: Mapping[str, str]
) -> dict[Partition, Progress]:
    received: dict[Partition, int] = {}
    grouped = table.group_by(["topic", "partition"]).aggregate([("received_us", "max")])
    for row in grouped.to_pylist():
        received[(row["topic"], row["partition"])] = row["received_us_max"] or 0
    new = {}
    for partition, offset in end.items():
        before = expected.get(partition)
        if before is None or offset > before.next_offset:
            latest_us = max(received.get(partition, 0), before.received_us if before else 0)
            new[partition] = Progress(offset, topic_ids[partition[0]], latest_us)
    return new


def describe(counts: Mapping[str, Any], newest_us: int) -> str:
    """One line for the log.

    >>> describe({"n_records": 3, "n_users": 2, "n_duplicates": 0}, 0)
    '3 records, 2 users, received to 1970-01-01T00:00:00+00:00'
    """
    rare = ", ".join(f"{n} {name[2:].replace('_', ' ')}" for name, n in counts.items() if n and name not in _USUAL)
    return (
        f"{counts['n_records']} records, {counts['n_users']} users"
        + (f", {rare}" if rare else "")
        + f", received to {iso(newest_us)}"
    )


_USUAL = ("n_records", "n_users", "n_events_folded")

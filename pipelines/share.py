"""What one process does of a batch, from bytes to rows:

    decode ─► clean ─► rows read ─► dead letters, enriched events sent ─► fold ─► those are with Kafka ─► rows written

Shares are of whole partitions, as a user's records are in the same one of every topic.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis
from numpy.typing import NDArray

from feature_repo.online_store import connect
from feature_repo.progress import Partition, Progress
from firstmile.broker import AcknowledgedProducer, producer
from firstmile.names import CONTEXT, DEAD_LETTERS, ENRICHED, PROFILES
from firstmile.product import require_product
from firstmile.settings import Settings
from firstmile.wire import Registry
from pipelines.clean import CleanEvents, EventMapping, clean, clean_profiles, read_mapping
from pipelines.decode import WriterSchemas, decoded
from pipelines.enrich import SideOutputs
from pipelines.reading import TOMBSTONE, Reading
from pipelines.rows import Changes, Stored, apply_changes, read_users
from pipelines.rules import Rules, read_rules
from pipelines.segment import segments
from pipelines.statements import (
    archived_records,
    context_statements,
    deletions,
    merged_by_user,
    profile_statements,
)
from pipelines.store_check import Offsets, require_still

_UNREAD = ("at_us", "key", "value", "schema_id", "reason", "anonymous_id", "type", "sent_us")
"""Columns of good records that nothing after decoding reads."""


@dataclass(frozen=True)
class Before:
    """The store as a batch found it: where the batch begins, the progress records, and their guard."""

    start: Offsets
    expected: Mapping[Partition, Progress]
    guard: bytes


@dataclass(frozen=True)
class Done:
    """What became of a share.

    counts
        `n_*` by name.
    newest_us
        Greatest received_at by partition, 0 where no record has one.
    dead, unknown
        Dead letters by reason; events by a name nobody mapped.
    """

    counts: Mapping[str, int]
    newest_us: Mapping[Partition, int]
    dead: Mapping[str, int]
    unknown: Mapping[str, int]


@dataclass
class ShareWriter:
    """Carries out the effects of some partitions' records.

    decode
        Kafka's records to the columns of reading.SCHEMA.
    after
        Called with the name of each effect when it has happened.
    lap
        Called with the name of each step when it is done.
    """

    client: "redis.Redis"
    producer: AcknowledgedProducer
    outputs: SideOutputs
    mapping: EventMapping
    topic_ids: Mapping[str, str]
    decode: Callable[[pa.Table], pa.Table] = lambda table: table
    rules: Rules = field(default_factory=Rules)
    after: Callable[[str], None] = lambda _: None
    lap: Callable[[str], None] = lambda _: None
    _reads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "reads"))

    def write(self, records: pa.Table, before: Before) -> Done:
        """Carry out all effects but the progress record.

        Raises StoreLossError when the store turns out not to be the one the batch belongs to.
        """
        table = self.decode(records)
        self.lap("decode")
        good, others = parted(table, pc.is_null(table["reason"]))
        tombstones, dead = parted(others, pc.equal(others["reason"], TOMBSTONE))
        reading = self._reads.submit(read_users, self.client, _users(good, tombstones))  # while events are cleaned
        changes = _changes(good, tombstones, self)
        self.lap("clean")
        stored = reading.result()
        if any(n for name, n in changes.events.counts.items() if name.startswith("n_dropped_")):
            stored = stored.of(changes.users())
        self.lap("read_rows")
        self._send(changes, stored, dead)
        self.lap("side_outputs")
        written = apply_changes(
            self.client,
            changes,
            stored,
            guard=before.guard,
            before_writing=self._flush,  # Kafka takes them while the rows are folded
            on_conflict=lambda: require_still(self.client, before.start, self.topic_ids, before.expected),
            lap=self.lap,
        )
        self.after("rows")
        counts = {"n_records": table.num_rows, "n_dead_letters": dead.num_rows, **changes.events.counts}
        reasons = {row["values"]: row["counts"] for row in dead["reason"].value_counts().to_pylist()}
        return Done(counts | vars(written), _newest_us(table), reasons, changes.events.unknown_names())

    def _flush(self) -> None:
        self.producer.flush()
        self.lap("flush")
        self.after("side_outputs")

    def _send(self, changes: Changes, stored: Stored, dead: pa.Table) -> None:
        profiles, events = dict(zip(stored.user_ids, stored.profiles, strict=True)), changes.events
        self.producer.send_all(ENRICHED, self.outputs.enriched(events, profiles, _segments(events, stored)))
        self.producer.send_all(ENRICHED, self.outputs.archived_profiles(changes.archived))
        for dead_key, value in self.outputs.dead_letters(dead):
            self.producer.send(DEAD_LETTERS, key=dead_key, value=value)


def share_writer(settings: Settings, topic_ids: Mapping[str, str]) -> ShareWriter:
    """A writer of shares as the settings say.

    Raises DependencyError when the registry does not say how records are written, DataError for a damaged file of
    names or rules.
    """
    registry = Registry(settings.registry_url, timeout_s=settings.registry.timeout_s)
    schemas = WriterSchemas(registry)
    schemas.learn_latest()
    require_product(settings.product)
    mapping, rules = read_mapping(settings.product_file("events")), read_rules(settings.product_file("cleaning"))
    reading = Reading(mapping.fields, rules.watched, topic_ids)
    return ShareWriter(
        connect(settings.redis_url, timeout_s=settings.redis.timeout_s),
        # No record of its own accord gives up: one that did, with later ones sent, would leave a gap in the enriched
        # events that the archive takes for archived. `flush` still gives up, and then the process ends.
        producer(settings, **{"delivery.timeout.ms": 0}),
        SideOutputs(registry, topic_ids),
        mapping,
        topic_ids,
        lambda records: decoded(records, schemas, reading),
        rules,
    )


def joined(shares: Sequence[Done]) -> Done:
    """What became of all shares together; at least one."""
    sums = [Counter[str](), Counter[str](), Counter[str]()]
    newest_us: dict[Partition, int] = {}
    for share in shares:
        for total, more in zip(sums, (share.counts, share.dead, share.unknown), strict=True):
            total.update(more)
        for partition, us in share.newest_us.items():
            newest_us[partition] = max(us, newest_us.get(partition, 0))
    return Done(dict(sums[0]), newest_us, dict(sums[1]), dict(sums[2]))


def _newest_us(table: pa.Table) -> dict[Partition, int]:
    grouped = table.group_by(["topic", "partition"]).aggregate([("received_us", "max")])
    return {(row["topic"], row["partition"]): row["received_us_max"] or 0 for row in grouped.to_pylist()}


def _users(good: pa.Table, tombstones: pa.Table) -> list[str]:
    """Everybody of whom something is said, those who will be left out among them."""
    deleted = (key.decode(errors="replace") for key in tombstones["key"].to_pylist())
    return list(dict.fromkeys([*pc.unique(good["user_id"]).to_pylist(), *deleted]))


def _segments(events: CleanEvents, stored: Stored) -> NDArray[np.object_]:
    user = stored.rows_of(events.frame["user_id"])
    return segments(stored.rows, user, np.asarray(events.frame["received_us"], np.int64), stored.profiles)


def _changes(good: pa.Table, tombstones: pa.Table, by: ShareWriter) -> Changes:
    stated, happened = parted(good.drop_columns(_UNREAD), pc.equal(good["topic"], PROFILES))
    frame = happened.to_pandas()
    frame["topic_id"] = [by.topic_ids.get(topic) for topic in frame["topic"]]
    events = clean(frame, by.mapping, by.rules)
    contexts = merged_by_user(context_statements(events.frame[events.frame["topic"] == CONTEXT]))
    if not stated.num_rows and not tombstones.num_rows:
        return Changes(events, {}, contexts)
    profiles = stated.to_pandas()
    kept = clean_profiles(profiles, by.rules)
    return Changes(
        events.counting(n_dropped_internal=len(profiles) - len(kept)),
        merged_by_user([*profile_statements(kept), *deletions(tombstones)]),
        contexts,
        list(archived_records(kept, tombstones)) if PROFILES in by.topic_ids else (),
    )


def parted(table: pa.Table, chosen: pa.ChunkedArray) -> tuple[pa.Table, pa.Table]:
    """The chosen rows, and the others; nothing is copied when all are of one kind.

    >>> table = pa.table({"n": [1, 2, 3]})
    >>> [part["n"].to_pylist() for part in parted(table, pc.greater(table["n"], 1))]
    [[2, 3], [1]]
    """
    none, n = table.slice(0, 0), pc.sum(chosen).as_py() or 0
    if n == table.num_rows:
        return table, none
    return (table.filter(chosen), table.filter(pc.invert(chosen))) if n else (none, table)

"""One micro-batch, and the order of its effects:

    progress still ours? ─► dead letters and enriched events, flushed ─► rows ─► progress record ─► (Spark's commit)

Killed between any two, the batch is done again: side outputs carry their input's position, rows their fences. What
lies between the first and the last is shared by processes (share.py, helper.py).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import redis

from feature_repo import progress
from feature_repo.progress import Partition, Progress
from firstmile.clock import iso
from pipelines.share import Before, Done, ShareWriter, joined
from pipelines.step_timer import StepTimer
from pipelines.store_check import Offsets, require_store
from pipelines.unknown_names import UnknownNames

log = logging.getLogger(__name__)

STEPS: Final = ("side_outputs", "rows", "progress")
"""Names of the effects, for tests that stop between two of them."""
LEAST_SPLIT: Final = 100
"""Records that are worth a second process: below it, most of a batch's time is calls and not records."""


class Other(Protocol):
    """Does a share in another process."""

    def begin(self, records: pa.Table, before: Before) -> None:
        """Hand it over."""
        ...

    def end(self) -> Done | Exception:
        """Wait for it: what became of it, or what was raised."""
        ...


@dataclass
class BatchWriter:
    """Carries out the effects of a batch.

    own
        Does a share of every batch, or all of it.
    others
        Do the rest, if it is worth it.
    timer
        Restarted by whoever begins a batch; holds the time of its steps when it is written.
    """

    own: ShareWriter
    others: Sequence[Other] = ()
    timer: StepTimer = field(default_factory=StepTimer)
    totals: dict[str, int] = field(default_factory=dict)
    unknown: UnknownNames = field(default_factory=UnknownNames)

    def __post_init__(self) -> None:
        self.own.lap = self.timer.lap

    @property
    def client(self) -> "redis.Redis":
        """The online store's."""
        return self.own.client

    def check(self, start: Offsets) -> dict[Partition, Progress]:
        """Progress records; raises as `require_store` does."""
        return require_store(self.client, start, self.own.topic_ids)

    def write(self, records: pa.Table, *, start: Offsets, end: Offsets) -> Done:
        """Carry out all effects of a batch.

        Raises StoreLossError before any write when the store is not the one the batch belongs to.
        """
        run, guard = progress.run_id(self.client), progress.guard(self.client)
        self.check(start)
        expected = progress.read(self.client, {**start, **end})  # a partition added meanwhile is in `end` alone
        self.timer.lap("check")
        done = self._effects(records, Before(start, expected, guard))
        new = _progress(done.newest_us, expected, end, self.own.topic_ids)
        progress.write(self.client, expected, new, run=run)
        self.timer.lap("progress")
        self.own.after("progress")
        self._tell(done)
        return done

    def _effects(self, records: pa.Table, before: Before) -> Done:
        own, *rest = split(records, 1 + len(self.others))
        busy = self.others[: len(rest)]
        for other, share in zip(busy, rest, strict=True):
            other.begin(share, before)
        self.timer.lap("split")
        try:
            done = [self.own.write(own, before)]
        finally:  # nobody writes when a batch has ended, however it did
            answers = [other.end() for other in busy]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            done.append(answer)
        self.timer.lap("others")
        return joined(done)

    def _tell(self, done: Done) -> None:
        if done.dead:
            log.warning("dead letters: %s", ", ".join(f"{n} {reason}" for reason, n in sorted(done.dead.items())))
        self.unknown.add(done.unknown)
        for name, n in done.counts.items():
            self.totals[name] = self.totals.get(name, 0) + n


def split(records: pa.Table, n: int) -> list[pa.Table]:
    """At most n shares of about the same size, none of them empty unless all are; a partition's records stay together.

    >>> t = pa.table({"partition": [0, 1, 2] * LEAST_SPLIT + [2]})
    >>> [share.num_rows for share in split(t, 2)], [share.num_rows for share in split(t, 1)]
    ([200, 101], [301])
    """
    if n == 1 or records.num_rows < LEAST_SPLIT:
        return [records]
    partition = records["partition"].to_numpy()
    numbers, counts = np.unique(partition, return_counts=True)
    sizes, bins = np.zeros(n, np.int64), np.zeros(len(numbers), np.int64)
    for i in np.argsort(-counts, kind="stable"):
        bins[i] = sizes.argmin()
        sizes[bins[i]] += counts[i]
    bin_of = bins[np.searchsorted(numbers, partition)]
    order = np.argsort(-sizes, kind="stable")
    return [records.filter(pa.array(bin_of == i)) for i in order if sizes[i]]


def _progress(
    newest_us: Mapping[Partition, int],
    expected: Mapping[Partition, Progress],
    end: Offsets,
    topic_ids: Mapping[str, str],
) -> dict[Partition, Progress]:
    new = {}
    for partition, offset in end.items():
        before = expected.get(partition)
        if before is None or offset > before.next_offset:
            latest_us = max(newest_us.get(partition, 0), before.received_us if before else 0)
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

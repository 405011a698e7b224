"""What a row has already applied: fences per topic partition, message ids of the last day, the end of file history.

It makes replays, duplicates and two sources of the same event harmless, and never reaches a model: the field `applied`
beside `activity` in the same Redis hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.message_ids import joined, known, ties_sorted
from feature_repo.packing import Ints, Section, deltas, pack, row_starts, turned, undeltas, unpack
from firstmile.clock import MICROS_PER_S
from firstmile.errors import DataError

LAYOUT = 1
ID_WINDOW_S = 24 * 3600
MAX_IDS = 4096
HASH_BITS = 56  # a varint of exactly 8 bytes
PARTITION_BITS, TOPIC_BITS = 14, 20

FROM_FILE = -1
"""Partition of an event read from a file: it has no fence and is not held against `history_to`."""


@dataclass(frozen=True)
class Applied:
    """Columns over n rows; ragged ones sorted by row.

    fence_user, fence_topic, fence_partition, fence_offset
        Shape (n_fences,): last applied offset by (topic id hash, partition).
    id_user, id_hash, id_received_s
        Shape (n_ids,): message ids, oldest first within a row.
    history_to_us, max_received_us
        Shape (n,): end of the file history a row was built from (0: none), greatest received_at applied.
    n_duplicates, n_in_history, n_ids_evicted
        Shape (n,): counters.
    """

    fence_user: Ints
    fence_topic: Ints
    fence_partition: Ints
    fence_offset: Ints
    id_user: Ints
    id_hash: Ints
    id_received_s: Ints
    history_to_us: Ints
    max_received_us: Ints
    n_duplicates: Ints
    n_in_history: Ints
    n_ids_evicted: Ints

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.history_to_us)


def empty(n: int) -> Applied:
    """n rows that have applied nothing."""
    none = np.zeros(0, np.int64)
    zeros = np.zeros(n, np.int64)
    return Applied(none, none, none, none, none, none, none, zeros, zeros, zeros, zeros, zeros)


def first(applied: Applied, n: int) -> Applied:
    """Those of the first n rows."""
    fences, ids = (int(np.searchsorted(rows, n)) for rows in (applied.fence_user, applied.id_user))
    columns = {f: getattr(applied, f) for f in Applied.__dataclass_fields__}
    ends = {"fence": fences, "id": ids}
    return Applied(**{name: column[: ends.get(name.split("_")[0], n)] for name, column in columns.items()})


def message_hash(ids: Sequence[str] | NDArray[np.object_]) -> Ints:
    """56-bit hash of message ids and topic ids, shape (n,)."""
    hashed = pd.util.hash_array(np.asarray(ids, dtype=object), categorize=False)
    return (hashed >> np.uint64(64 - HASH_BITS)).astype(np.int64)


@dataclass(frozen=True)
class Source:
    """Where each event of a batch came from; all of shape (n_events,).

    user: row index · hash: message_hash · received_us · topic: message_hash of the topic id · partition, offset:
    position in Kafka, partition FROM_FILE for an event from a file.
    """

    user: Ints
    hash: Ints
    received_us: Ints
    topic: Ints
    partition: Ints
    offset: Ints


def accept(applied: Applied, source: Source) -> tuple[Applied, NDArray[np.bool_], NDArray[np.bool_]]:
    """Which events of a batch are new, and the state after them.

    Refused: offsets at or under the fence (a replay, not counted: it happens after every crash), live events received
    at or before `history_to` (in the files already), message ids seen within the window.

    Returns the new state and two masks of shape (n_events,): events to count, and events past the fence, which change
    the state even when they are refused for another reason.
    """
    n = applied.n_rows
    live = source.partition != FROM_FILE
    is_new, fences = _fence(applied, source, live)
    in_history = is_new & live & (source.received_us <= applied.history_to_us[source.user])
    fresh = is_new & ~in_history
    duplicate = _is_duplicate(applied, source, fresh)
    ok = fresh & ~duplicate
    after = replace(
        fences,
        n_in_history=applied.n_in_history + np.bincount(source.user[in_history], minlength=n),
        n_duplicates=applied.n_duplicates + np.bincount(source.user[duplicate], minlength=n),
        max_received_us=_greatest(applied.max_received_us, source.user[ok], source.received_us[ok]),
    )
    return _remember(after, source, ok), ok, is_new


def _greatest(current: Ints, user: Ints, value: Ints) -> Ints:
    out = current.copy()
    np.maximum.at(out, user, value)
    return out


def _fence(applied: Applied, source: Source, live: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Applied]:
    if not live.any():
        return np.ones(len(source.user), bool), applied
    user, partition = source.user[live], source.partition[live]
    _check_places(partition, source.offset[live])
    topics, code = np.unique(np.concatenate((applied.fence_topic, source.topic[live])), return_inverse=True)
    n_old = len(applied.fence_topic)

    def key(users: Ints, codes: Ints, partitions: Ints) -> Ints:
        return (users << (TOPIC_BITS + PARTITION_BITS)) | (codes << PARTITION_BITS) | partitions

    old = key(applied.fence_user, code[:n_old], applied.fence_partition)
    new = key(user, code[n_old:], partition)
    keys, inverse = np.unique(np.concatenate((old, new)), return_inverse=True)
    before = np.full(len(keys), -1, np.int64)
    before[inverse[:n_old]] = applied.fence_offset
    passed = np.ones(len(source.user), bool)
    passed[live] = source.offset[live] > before[inverse[n_old:]]
    after = before.copy()
    np.maximum.at(after, inverse[n_old:], source.offset[live])
    return passed, replace(
        applied,
        fence_user=keys >> (TOPIC_BITS + PARTITION_BITS),
        fence_topic=topics[(keys >> PARTITION_BITS) & ((1 << TOPIC_BITS) - 1)],
        fence_partition=keys & ((1 << PARTITION_BITS) - 1),
        fence_offset=after,
    )


def _check_places(partition: Ints, offset: Ints) -> None:
    if partition.min() < 0 or partition.max() >= 1 << PARTITION_BITS:
        wrong = int(partition.min() if partition.min() < 0 else partition.max())
        raise DataError(f"partition {wrong}, allowed: 0 to {(1 << PARTITION_BITS) - 1}, or {FROM_FILE} for a file")
    if offset.min() < 0:
        raise DataError(f"offset {int(offset.min())}: a record from Kafka has one of 0 or more")


def _is_duplicate(applied: Applied, source: Source, fresh: NDArray[np.bool_]) -> NDArray[np.bool_]:
    index = np.flatnonzero(fresh)
    out = np.zeros(len(source.user), bool)
    if not len(index):
        return out
    user, hashes = source.user[index], source.hash[index]
    order = np.lexsort((hashes, user))  # stable: the first of the same stays first
    again = np.zeros(len(index), bool)
    again[order[1:]] = (user[order[1:]] == user[order[:-1]]) & (hashes[order[1:]] == hashes[order[:-1]])
    out[index] = again | known(row_starts(applied.id_user, applied.n_rows), applied.id_hash, user, hashes)
    return out


def _remember(applied: Applied, source: Source, ok: NDArray[np.bool_]) -> Applied:
    if not ok.any():
        return applied
    user, hashes, received_s = source.user[ok], source.hash[ok], source.received_us[ok] // MICROS_PER_S
    order = np.lexsort((hashes, received_s, user))
    # Not `>`: whole seconds are kept, and an id must stay for all of the window.
    oldest_s = applied.max_received_us // MICROS_PER_S - ID_WINDOW_S
    id_user, id_hash, id_received_s, n_evicted = joined(
        applied.id_user,
        applied.id_hash,
        applied.id_received_s,
        user[order],
        hashes[order],
        received_s[order],
        oldest_s,
        MAX_IDS,
    )
    return replace(
        applied,
        id_user=id_user,
        id_hash=id_hash,
        id_received_s=id_received_s,
        n_ids_evicted=applied.n_ids_evicted + n_evicted,
    )


def without_ids(applied: Applied, n: int) -> Applied:
    """The state without the message ids of the first n rows: what an older row of the offline history keeps of it."""
    end = int(np.searchsorted(applied.id_user, n))
    ids = (applied.id_user[end:], applied.id_hash[end:], applied.id_received_s[end:])
    return replace(applied, id_user=ids[0], id_hash=ids[1], id_received_s=ids[2])


def pack_applied(applied: Applied) -> list[bytes]:
    """One bytes object per row."""
    newest_s = applied.max_received_us // MICROS_PER_S
    row = applied.id_user
    order = turned(row)  # newest first: ages are small, and so are the steps from one to the next
    age_s = newest_s[row] - applied.id_received_s[order]
    fixed = np.stack(
        (
            applied.history_to_us,
            applied.max_received_us,
            applied.n_duplicates,
            applied.n_in_history,
            applied.n_ids_evicted,
        )
    )
    fences = (applied.fence_topic, applied.fence_partition, applied.fence_offset)
    ids = (deltas(row, age_s), applied.id_hash[order])
    return pack(LAYOUT, fixed, (Section(applied.fence_user, fences), Section(row, ids)))


def unpack_applied(blobs: Sequence[bytes]) -> Applied:
    """Inverse of pack_applied. Raises DataError for damaged bytes."""
    fixed, (fences, ids) = unpack(blobs, layout=LAYOUT, n_fixed=5, widths=(3, 2))
    history_to_us, max_received_us, n_duplicates, n_in_history, n_ids_evicted = fixed
    received_s = max_received_us[ids.row] // MICROS_PER_S - undeltas(ids.row, ids.columns[0])
    order = turned(ids.row)
    id_hash, received_s = ties_sorted(ids.row, ids.columns[1][order], received_s[order])
    return Applied(
        fences.row,
        fences.columns[0],
        fences.columns[1],
        fences.columns[2],
        ids.row,
        id_hash,
        received_s,
        history_to_us,
        max_received_us,
        n_duplicates,
        n_in_history,
        n_ids_evicted,
    )

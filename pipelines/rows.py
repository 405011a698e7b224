"""A batch into the online store: read the users' rows, fold, write by compare-and-set, again for whoever changed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import redis
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from feature_repo.activity import fold
from feature_repo.applied import pack_applied
from feature_repo.fields import ACTIVITY
from feature_repo.latest import CONTEXT_VIEW, PROFILE_VIEW, Latest, LatestView, merge
from feature_repo.online_store import (
    MAX_TRIES,
    VERSION_FIELD,
    UserWrite,
    compare_and_set,
    feature_field,
    latest_fields,
    plain_value,
    read_fields,
    time_bytes,
    time_field,
    user_key,
)
from feature_repo.packing import Ints
from feature_repo.row import Rows, pack_rows, unpack_rows
from firstmile.errors import ConflictError
from firstmile.wire import Record
from pipelines.clean import CleanEvents, to_events

_ACTIVITY_FIELD = feature_field(ACTIVITY, "activity")
_APPLIED_FIELD = feature_field(ACTIVITY, "applied")
_ACTIVITY_TIME = time_field(ACTIVITY)
_READ = [
    VERSION_FIELD,
    _ACTIVITY_FIELD,
    _APPLIED_FIELD,
    *(feature_field(PROFILE_VIEW.name, name) for name in PROFILE_VIEW.fields),
    *(feature_field(CONTEXT_VIEW.name, name) for name in CONTEXT_VIEW.fields),
]
_PROFILE_AT = slice(3, 3 + len(PROFILE_VIEW.fields))
_CONTEXT_AT = slice(_PROFILE_AT.stop, len(_READ))


@dataclass(frozen=True)
class Stored:
    """What Redis has of some users, in the order asked.

    profiles
        Every stored field that has a value, by name.
    contexts
        The fields of CONTEXT_VIEW as they are stored.
    """

    user_ids: Sequence[str]
    keys: Sequence[bytes]
    versions_us: Ints
    activity: list[bytes | None]
    applied: list[bytes | None]
    profiles: list[dict[str, Any]]
    contexts: list[Sequence[bytes | None]]

    @cached_property
    def rows(self) -> Rows:
        """The rows as columns, unpacked once for all who look at them."""
        return unpack_rows(self.activity, self.applied, self.versions_us)

    def of(self, users: Sequence[str]) -> "Stored":
        """Of some of the users, in their order."""
        at = self.rows_of(users).tolist()
        lists = (self.keys, self.activity, self.applied, self.profiles, self.contexts)
        keys, activity, applied, profiles, contexts = ([each[i] for i in at] for each in lists)
        return Stored(users, keys, self.versions_us[at], activity, applied, profiles, contexts)

    def profile(self, i: int) -> Latest:
        """What is stored of a user's profile."""
        return PROFILE_VIEW.read(self.profiles[i])

    def context(self, i: int) -> Latest:
        """What is stored of a user's context."""
        return CONTEXT_VIEW.read(_plain(CONTEXT_VIEW, self.contexts[i]))

    def rows_of(self, user_ids: Iterable[str]) -> Ints:
        """Row index of each user, shape (n,)."""
        return np.array([self._index[user_id] for user_id in user_ids], np.int64)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {user_id: i for i, user_id in enumerate(self.user_ids)}


@dataclass(frozen=True)
class Changes:
    """Everything of a batch that changes rows: events in order of arrival, and what profiles and contexts say by user.

    archived
        Enriched events of the profile records.
    """

    events: CleanEvents
    profiles: Mapping[str, Latest]
    contexts: Mapping[str, Latest]
    archived: Iterable[Record] = ()

    def users(self) -> list[str]:
        """Everybody touched."""
        return list(dict.fromkeys([*self.events.frame["user_id"], *self.profiles, *self.contexts]))

    def of(self, users: Sequence[str]) -> "Changes":
        """The changes of some users."""
        chosen = set(users)
        mask = self.events.frame["user_id"].isin(chosen).to_numpy()
        return Changes(
            CleanEvents(self.events.frame[mask], self.events.family[mask]),
            {u: v for u, v in self.profiles.items() if u in chosen},
            {u: v for u, v in self.contexts.items() if u in chosen},
        )


@dataclass(frozen=True)
class Written:
    """What became of a batch."""

    n_users: int
    n_events_folded: int
    n_duplicates: int
    n_in_history: int
    n_late: int
    n_too_late: int
    n_conflicts: int


_COUNTERS = ("n_events_folded", "n_duplicates", "n_in_history", "n_late", "n_too_late")


def read_users(client: "redis.Redis", user_ids: Sequence[str]) -> Stored:
    """Rows, versions and profiles of users."""
    keys = [user_key(user_id) for user_id in user_ids]
    replies = read_fields(client, keys, _READ)
    return Stored(
        user_ids,
        keys,
        np.array([int(r[0] or 0) for r in replies], np.int64),
        [_bytes(r[1]) for r in replies],
        [_bytes(r[2]) for r in replies],
        [_plain(PROFILE_VIEW, r[_PROFILE_AT]) for r in replies],
        [r[_CONTEXT_AT] for r in replies],
    )


def apply_changes(
    client: "redis.Redis",
    changes: Changes,
    stored: Stored,
    *,
    on_conflict: Callable[[], bytes | None],
    guard: bytes | None = None,
    before_writing: Callable[[], None] = lambda: None,
    lap: Callable[[str], None] = lambda _: None,
) -> Written:
    """Fold and write until every user is written.

    stored
        Rows as read for `changes.users()`.
    guard
        `progress.guard` as read before the rows: a store that is another by now takes no row. None: not asked for.
    before_writing
        Called once, when everything is folded and no row is written.
    on_conflict
        Called before rows are read again; gives the guard from there on, or raises if the store as a whole is no
        longer the one the batch began with.
    lap
        Called with "fold" and "rows" when each is done.

    Raises ConflictError when the same users keep changing under us.
    """
    totals = np.zeros(len(_COUNTERS), np.int64)
    n_users, n_conflicts = len(stored.user_ids), 0
    for attempt in range(MAX_TRIES):
        writes, counters = _fold(changes, stored)
        lap("fold")
        if not attempt:
            before_writing()
        pending = [i for i, write in enumerate(writes) if write is not None]
        done = compare_and_set(client, [write for write in writes if write is not None], guard=guard)
        lap("rows")
        refused = {i for i, ok in zip(pending, done, strict=True) if not ok}
        kept = [i for i in range(len(writes)) if i not in refused]
        totals += counters[kept].sum(axis=0)
        if not refused:
            sums = dict(zip(_COUNTERS, totals.tolist(), strict=True))
            return Written(n_users=n_users, n_conflicts=n_conflicts, **sums)
        n_conflicts += len(refused)
        guard = on_conflict()
        users = [stored.user_ids[i] for i in sorted(refused)]
        changes, stored = changes.of(users), read_users(client, users)
    raise ConflictError(f"{len(users)} users changed at every one of {MAX_TRIES} tries, for example {users[0]!r}")


def _fold(changes: Changes, stored: Stored) -> tuple[list[UserWrite | None], Ints]:
    """One write per user (None: nothing to write), and the counters, shape (n_users, len(_COUNTERS))."""
    before = stored.rows
    after, changed = fold(before, to_events(changes.events, stored.rows_of(changes.events.frame["user_id"])))
    activity, applied = pack_rows(after), pack_applied(after.applied)
    # As lists: taking numbers out of arrays one by one costs more than the rest of the loop.
    is_changed = changed.tolist()
    versions_us, versions_before_us = after.version_us.tolist(), stored.versions_us.tolist()
    writes: list[UserWrite | None] = []
    for i in range(len(stored.user_ids)):
        said = _said(changes, stored, i)
        if not is_changed[i] and not said:
            writes.append(None)
            continue
        received_us = max((latest.received_us for _, latest in said), default=0)
        version_us = max(versions_us[i], received_us, versions_before_us[i] + 1)
        fields: dict[bytes, bytes] = {}
        if is_changed[i]:
            fields[_ACTIVITY_FIELD] = ValueProto(bytes_val=activity[i]).SerializeToString()
            fields[_APPLIED_FIELD] = ValueProto(bytes_val=applied[i]).SerializeToString()
            fields[_ACTIVITY_TIME] = time_bytes(version_us)
        for view, latest in said:
            fields |= latest_fields(view, latest) | {time_field(view.name): time_bytes(version_us)}
        writes.append(UserWrite(stored.keys[i], versions_before_us[i], version_us, fields))
    return writes, _counters(after) - _counters(before)


def _said(changes: Changes, stored: Stored, i: int) -> list[tuple[LatestView, Latest]]:
    """Of one user, the views that say more than what is stored, and what they say now."""
    out = []
    for view, new, read in (
        (PROFILE_VIEW, changes.profiles.get(stored.user_ids[i]), stored.profile),
        (CONTEXT_VIEW, changes.contexts.get(stored.user_ids[i]), stored.context),
    ):
        if new is not None and (after := merge((before := read(i), new))) != before:
            out.append((view, after))
    return out


def _counters(rows: Rows) -> Ints:
    counted = np.bincount(rows.life.user, weights=rows.life.count, minlength=rows.n_rows)
    applied = rows.applied
    return np.column_stack(
        (counted.astype(np.int64), applied.n_duplicates, applied.n_in_history, rows.n_late, rows.n_too_late)
    )


def _plain(view: LatestView, stored: Sequence[bytes | None]) -> dict[str, Any]:
    if not any(stored):
        return {}
    values = {name: plain_value(data) for name, data in zip(view.fields, stored, strict=True)}
    return {name: value for name, value in values.items() if value is not None}


def _bytes(data: bytes | None) -> bytes | None:
    return ValueProto.FromString(data).bytes_val if data else None

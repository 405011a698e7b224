"""Rows of the online store beside the last rows of the offline history, feature by feature."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np

from feature_repo.fields import ACTIVITY, CONTEXT, CONTEXT_FIELDS, PROFILE, PROFILE_FIELDS
from feature_repo.online_store import connect, feature_field, plain_value, user_key
from feature_repo.row import Rows, unpack_rows
from feature_repo.windows import FEATURE_NAMES, windows
from firstmile.settings import Settings

BY_ORDER = ("n_sessions", "session_s")
"""Features that an event later than the lateness bound may miss: the row's `n_late` says that there was one."""
SHOWN = 20


def compare(settings: Settings, users: Sequence[str], instants_us: Sequence[int]) -> dict[str, Any]:
    """Every feature of `windows` at every instant, the step, the profile and the context, of every user.

    n_differences
        Values that differ, `examples` the first of them; those of BY_ORDER in rows that count late events are in
        n_lost_by_lateness instead.
    """
    online, offline = _online(settings, users), _history(settings, ACTIVITY, ("activity",))
    ours = unpack_rows([online[user] for user in users])
    theirs = unpack_rows([offline[user][0] if user in offline else None for user in users])
    found = _activity(users, ours, theirs, instants_us)
    said = [*_said(settings, users, PROFILE, PROFILE_FIELDS), *_said(settings, users, CONTEXT, CONTEXT_FIELDS)]
    differ = [*found["differ"], *said]
    names = len(FEATURE_NAMES)
    n_said = len(PROFILE_FIELDS) + len(CONTEXT_FIELDS)
    return {
        "n_users": len(users),
        "n_users_with_events": len(offline),
        "n_features": names + 1 + n_said,
        "n_instants": len(instants_us),
        "n_compared": len(users) * (names * len(instants_us) + 1 + n_said),
        "n_differences": len(differ),
        "examples": differ[:SHOWN],
        "n_rows_with_late_events": int((ours.n_late > 0).sum()),
        "n_lost_by_lateness": found["n_lost"],
        "n_rows_equal_byte_for_byte": sum(online[u] == (offline[u][0] if u in offline else None) for u in users),
    }


def _activity(users: Sequence[str], ours: Rows, theirs: Rows, instants_us: Sequence[int]) -> dict[str, Any]:
    differ, n_lost = [], 0
    for now_us in instants_us:
        now = np.full(len(users), now_us, np.int64)
        left, right = windows(ours, now), windows(theirs, now)
        for feature in FEATURE_NAMES:
            is_other = (left[feature] != right[feature]) & ~(np.isnan(left[feature]) & np.isnan(right[feature]))
            is_lost = is_other & (ours.n_late > 0) if feature in BY_ORDER else np.zeros(len(users), bool)
            n_lost += int(is_lost.sum())
            for i in np.flatnonzero(is_other & ~is_lost).tolist():
                differ.append(f"{users[i]} {feature} at {now_us}: {left[feature][i]}, batch {right[feature][i]}")
    pairs = zip(users, ours.step, theirs.step, strict=True)
    differ += [f"{user} step: {a!r}, batch {b!r}" for user, a, b in pairs if a != b]
    return {"differ": differ, "n_lost": n_lost}


def _online(settings: Settings, users: Sequence[str]) -> dict[str, bytes | None]:
    found = _fields(settings, users, ACTIVITY, ("activity",))
    return {user: bytes(values[0]) if values[0] is not None else None for user, values in found.items()}


def _said(settings: Settings, users: Sequence[str], view: str, names: Sequence[str]) -> list[str]:
    online, offline = _fields(settings, users, view, names), _history(settings, view, names)
    blank = (None,) * len(names)
    return [
        f"{user} {view}.{name}: {a!r}, batch {b!r}"
        for user in users
        for name, a, b in zip(names, online[user], offline.get(user, blank), strict=True)
        if a != b
    ]


def _fields(settings: Settings, users: Sequence[str], view: str, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    fields = [feature_field(view, name) for name in names]
    with connect(settings.redis_url, timeout_s=60).pipeline(transaction=False) as pipe:
        for user in users:
            pipe.hmget(user_key(user), fields)  # type: ignore[arg-type]
        stored = pipe.execute()
    return {user: tuple(plain_value(value) for value in row) for user, row in zip(users, stored, strict=True)}


def _history(settings: Settings, view: str, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The last row of each user."""
    # arg_max leaves out rows without a value: a struct has one.
    columns = f"arg_max(struct_pack({', '.join(f'{name} := {name}' for name in names)}), event_timestamp)"
    query = f"SELECT user_id, {columns} FROM '{settings.history / view}/*.parquet' GROUP BY user_id"
    with duckdb.connect() as connection:
        found = connection.execute(query).fetchall()
    return {user: tuple(last[name] for name in names) for user, last in found}

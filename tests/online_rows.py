"""Users in a real online store, written as the stream writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import redis
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from feature_repo import progress
from feature_repo.activity import NOT_COUNTED, Events, fold
from feature_repo.applied import FROM_FILE, Source, message_hash, pack_applied
from feature_repo.distinct import content_hash
from feature_repo.fields import ACTIVITY, PROFILE
from feature_repo.online_store import UserWrite, compare_and_set, feature_field, time_bytes, time_field, user_key
from feature_repo.progress import Progress
from feature_repo.row import Rows, empty_rows, pack_rows
from firstmile.clock import MICROS_PER_DAY
from firstmile.names import EVENT_TOPICS, FAMILIES
from firstmile.vocabulary import FORMATS


def write_user(
    client: "redis.Redis",
    user_id: str,
    *,
    now_us: int,
    opens: Sequence[tuple[str, str]] = (),
    profile: Mapping[str, Any] | None = None,
    age_days: float = 6.0,
) -> None:
    """A user who began `age_days` ago and opened these (content_id, format), the last one just now."""
    rows = _rows(user_id, opens, now_us=now_us, age_days=age_days)
    fields = {
        feature_field(ACTIVITY, "activity"): ValueProto(bytes_val=pack_rows(rows)[0]).SerializeToString(),
        feature_field(ACTIVITY, "applied"): ValueProto(bytes_val=pack_applied(rows.applied)[0]).SerializeToString(),
        time_field(ACTIVITY): time_bytes(int(rows.version_us[0])),
    }
    for name, value in (profile or {}).items():
        proto = ValueProto(string_val=value) if isinstance(value, str) else ValueProto(int64_val=value)
        fields[feature_field(PROFILE, name)] = proto.SerializeToString()
    version_us = client.hget(user_key(user_id), "_v")
    write = UserWrite(user_key(user_id), int(version_us or 0), int(rows.version_us[0]) + 1, fields)  # type: ignore[arg-type]
    assert compare_and_set(client, [write]) == [True]


def packed_user(user_id: str, *, now_us: int, opens: Sequence[tuple[str, str]] = (), age_days: float = 6.0) -> bytes:
    """The packed row of such a user."""
    return pack_rows(_rows(user_id, opens, now_us=now_us, age_days=age_days))[0]


def _rows(user_id: str, opens: Sequence[tuple[str, str]], *, now_us: int, age_days: float) -> Rows:
    began_us = now_us - int(age_days * MICROS_PER_DAY)
    return fold(empty_rows(1), events_of(user_id, opens, now_us=now_us, began_us=began_us))[0]


def events_of(user_id: str, opens: Sequence[tuple[str, str]], *, now_us: int, began_us: int) -> Events:
    """The sign-up and the opens, a minute apart."""
    n = 1 + len(opens)
    event_ms = (now_us - np.arange(n)[::-1] * 60_000_000) // 1_000
    source = Source(
        user=np.zeros(n, np.int64),
        hash=message_hash([f"{user_id}-{i}" for i in range(n)]),
        received_us=event_ms * 1_000,
        topic=message_hash(["t"] * n),
        partition=np.full(n, FROM_FILE, np.int64),
        offset=np.zeros(n, np.int64),
    )
    return Events(
        source,
        event_ms=event_ms,
        family=np.array([NOT_COUNTED] + [FAMILIES.index("content_open")] * len(opens), np.int64),
        weight=np.ones(n, np.int64),
        content=content_hash(["", *(content for content, _ in opens)]),
        page=np.zeros(n, np.int64),
        format=np.array([-1, *(FORMATS.index(f) for _, f in opens)], np.int64),
        step=np.array([""] * n, object),
        onboarding_ms=np.array([began_us // 1_000] + [0] * len(opens), np.int64),
        target=np.zeros(n, np.int64),
    )


def write_progress(client: "redis.Redis", *, n_partitions: int, next_offset: int = 10, received_us: int = 0) -> None:
    """A progress record for every partition, whatever was there."""
    partitions = [(topic, p) for topic in EVENT_TOPICS for p in range(n_partitions)]
    before = progress.read(client, partitions)
    progress.write(client, before, dict.fromkeys(partitions, Progress(next_offset, "t", received_us)))

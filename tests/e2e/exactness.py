"""What has to be true after any number of kills: rows equal to the brute force and to one fold, the lake whole."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import redis
from events_builder import DAY, HOUR, Event, batch
from fold_oracle import oracle
from generated_users import Delivery, events_by_user
from kafka_reading import end_offsets

from feature_repo.activity import fold
from feature_repo.reader import OnlineReader
from feature_repo.row import Rows, empty_rows, pack_rows, unpack_rows
from feature_repo.windows import windows
from firstmile.broker import describe_topics
from firstmile.names import CONTEXT, PROFILES, STREAM_TOPICS
from firstmile.settings import Settings
from pipelines.lake import Lake
from pipelines.rows import read_users

AFTER_MS = (0, 1, HOUR, 25 * HOUR, 8 * DAY)
"""Asked this long after a user's last event: within every window, and past it."""


def differences(settings: Settings, client: "redis.Redis", sent: Sequence[Delivery], users: Sequence[str]) -> list[str]:
    """One line for each user and feature that is not as it must be."""
    packed = read_users(client, users).activity
    rows, by_user = unpack_rows(packed), events_by_user(sent, len(users))
    return [
        *_against_brute_force(rows, by_user, users),
        *_against_one_fold(packed, sent, users),
        *_against_latest(settings, sent, users),
    ]


def _against_brute_force(rows: Rows, by_user: Sequence[Sequence[Event]], users: Sequence[str]) -> list[str]:
    last_ms = np.array([max(e.at_ms for e in events) for events in by_user], np.int64)
    found = []
    for after_ms in AFTER_MS:
        now_ms = last_ms + after_ms
        says = windows(rows, now_ms * 1_000)
        for i, events in enumerate(by_user):
            for feature, expected in oracle(events, int(now_ms[i])).items():
                value = float(says[feature][i])
                if value != expected and not (value != value and expected != expected):
                    found.append(f"{users[i]} {feature} at last + {after_ms} ms: {value}, brute force {expected}")
    return found


def _against_one_fold(packed: Sequence[bytes | None], sent: Sequence[Delivery], users: Sequence[str]) -> list[str]:
    whole, _ = fold(empty_rows(len(users)), batch([d.event for d in sent if d.event is not None]))
    pairs = zip(users, packed, pack_rows(whole), strict=True)
    return [f"{user} activity: {ours!r}, one fold {theirs!r}" for user, ours, theirs in pairs if ours != theirs]


def _against_latest(settings: Settings, sent: Sequence[Delivery], users: Sequence[str]) -> list[str]:
    """Profile, context and step: the latest by its source's time."""
    latest: dict[tuple[str, str], Delivery] = {}
    for delivery in sent:
        at = delivery.record.get("updated_at") or delivery.record["event_time"]
        kinds = [delivery.topic] if delivery.topic in (PROFILES, CONTEXT) else []
        kinds += ["step"] if delivery.record.get("properties", {}).get("step") else []
        for kind in kinds:
            known = latest.get((delivery.user_id, kind))
            if known is None or at > (known.record.get("updated_at") or known.record["event_time"]):
                latest[delivery.user_id, kind] = delivery
    reader, found = OnlineReader(settings, timeout_s=10), []
    for user in users:
        row = reader.read(user, 1_700_000_000_000_000)
        said = {
            "product": row.profile["product"] if row else None,
            "device": row.context["device"] if row else None,
            "step": (row.step or None) if row else None,
        }
        meant = {
            "product": _of(latest.get((user, PROFILES)), "traits", "product"),
            "device": _of(latest.get((user, CONTEXT)), "properties", "device"),
            "step": _of(latest.get((user, "step")), "properties", "step"),
        }
        found += [f"{user} {n}: {said[n]!r}, latest {meant[n]!r}" for n in meant if said[n] != meant[n]]
    return found


def _of(delivery: Delivery | None, part: str, name: str) -> str | None:
    return None if delivery is None else str(delivery.record[part][name])


def lake_problems(settings: Settings) -> list[str]:
    """Input records that are not in the lake exactly once, by topic id, partition and offset."""
    topics = describe_topics(settings, STREAM_TOPICS)
    expected = {
        (topics[topic].topic_id, partition, offset)
        for (topic, partition), end in end_offsets(settings, STREAM_TOPICS).items()
        for offset in range(end)
    }
    table = Lake(settings.lake).read()
    columns = (table[name].to_pylist() for name in ("source_topic_id", "source_partition", "source_offset"))
    found = Counter(zip(*columns, strict=True))
    return [
        *(f"{place} is not in the lake" for place in sorted(expected - found.keys())),
        *(f"{place} is in the lake {n} times" for place, n in sorted(found.items()) if n > 1),
        *(f"{place} is in the lake and was never sent" for place in sorted(found.keys() - expected)),
    ]

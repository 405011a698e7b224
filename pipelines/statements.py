"""Makes statements about users (feature_repo/latest.py) of profile and context records, in the stream and from files.

An archived profile record is an enriched event of the topic crm.profiles whose name says what it does to the profile.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from feature_repo.latest import CONTEXT_VIEW, NEVER, PROFILE_VIEW, Latest, LatestView, merge, said
from firstmile.names import PROFILES

UPDATED: Final = "Profile Updated"
REPLACED: Final = "Profile Replaced"
DELETED: Final = "Profile Deleted"


@dataclass(frozen=True)
class Statement:
    """What one record says of a user: when it was so at its source, and when it became known."""

    user_id: str
    source_us: int
    received_us: int
    latest: Latest


def profile_statements(frame: pd.DataFrame) -> Iterator[Statement]:
    """Of decoded profile records: user_id, updated_us, received_us, properties (the traits), is_whole."""
    if frame.empty:
        return
    columns = (frame[name].tolist() for name in ("user_id", "updated_us", "received_us", "properties", "is_whole"))
    for user_id, updated_us, received_us, traits, is_whole in zip(*columns, strict=True):
        yield statement(PROFILE_VIEW, user_id, updated_us, received_us, traits, is_whole=is_whole is True)


def context_statements(frame: pd.DataFrame) -> Iterator[Statement]:
    """Of events of the context topic: user_id, event_us, received_us, properties."""
    if frame.empty:
        return
    columns = (frame[name].tolist() for name in ("user_id", "event_us", "received_us", "properties"))
    for user_id, event_us, received_us, facts in zip(*columns, strict=True):
        yield statement(CONTEXT_VIEW, user_id, event_us, received_us, facts)


def deletions(tombstones: pa.Table) -> Iterator[Statement]:
    """Of profile records without a value: key (the user), at_us (when Kafka had it)."""
    for key, at_us in zip(tombstones["key"].to_pylist(), tombstones["at_us"].to_pylist(), strict=True):
        yield statement(PROFILE_VIEW, key.decode(errors="replace"), at_us, at_us, {}, is_whole=True)


def archived_statements(frame: pd.DataFrame) -> Iterator[Statement]:
    """Of archived profile records: user_id, name, event_us, received_us, properties."""
    columns = (frame[name].tolist() for name in ("user_id", "name", "event_us", "received_us", "properties"))
    for user_id, name, event_us, received_us, traits in zip(*columns, strict=True):
        yield statement(PROFILE_VIEW, user_id, event_us, received_us, traits, is_whole=name in (REPLACED, DELETED))


def statement(
    view: LatestView, user_id: str, source_us: int, received_us: int, values: Any, *, is_whole: bool = False
) -> Statement:
    """One statement; nothing was so at its source after we had it.

    values
        Texts by name: a mapping, pairs, or None.
    """
    at = (min(source_us, received_us), received_us)
    return Statement(user_id, *at, said(view, dict(values if values is not None else {}), at, is_whole=is_whole))


def merged_by_user(statements: Iterable[Statement]) -> Mapping[str, Latest]:
    """Of each user everything that was said."""
    by_user: dict[str, list[Latest]] = {}
    for each in statements:
        by_user.setdefault(each.user_id, []).append(each.latest)
    return {user_id: merge(states) for user_id, states in by_user.items()}


def archived_records(profiles: pd.DataFrame, tombstones: pa.Table) -> Iterator[dict[str, Any]]:
    """Enriched events that archive profile records and deletions, by partition and offset; those that say nothing we
    keep are left out. Without source_topic_id.

    profiles
        As of `profile_statements`, with message_id, partition and offset.
    tombstones
        As of `deletions`, with partition and offset.
    """
    gone = tombstones.select(["partition", "offset"]).to_pylist()
    found = [
        *zip(profile_statements(profiles), profiles.to_dict("records"), strict=True),
        *zip(deletions(tombstones), gone, strict=True),
    ]
    for each, row in sorted(found, key=lambda pair: (pair[1]["partition"], pair[1]["offset"])):
        is_whole = each.latest.replaced != NEVER
        if not is_whole and not each.latest.said:
            continue
        yield {
            "source_topic": PROFILES,
            "source_partition": row["partition"],
            "source_offset": row["offset"],
            "message_id": row.get("message_id") or f"{PROFILES}/{row['partition']}/{row['offset']}",
            "user_id": each.user_id,
            "name": DELETED if "message_id" not in row else REPLACED if is_whole else UPDATED,
            "event_time": each.source_us,
            "received_at": each.received_us,
            "properties": {name: text for name, (_, _, text) in each.latest.said.items()},
        }

"""Decoded batches as the stream hands them to its writer, and writers that die after a chosen effect."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from demo_product import EVENTS

from feature_repo.online_store import connect
from firstmile import wire
from firstmile.broker import producer
from firstmile.names import USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import Registry
from pipelines.batch import BatchWriter
from pipelines.clean import read_mapping
from pipelines.enrich import SideOutputs
from pipelines.reading import prefix_fields
from pipelines.share import ShareWriter

T0_US = 1_700_000_000_000_000


def writer(settings: Settings, topic_id: str, *, after: Callable[[str], None] = lambda _: None) -> BatchWriter:
    topic_ids = {USER_ACTIONS: topic_id}
    outputs = SideOutputs(Registry(settings.registry_url), topic_ids)
    client = connect(settings.redis_url, timeout_s=5)
    return BatchWriter(ShareWriter(client, producer(settings), outputs, read_mapping(EVENTS), topic_ids, after=after))


def decoded(users: list[str], partition: int, offsets: range, *, topic_id: str = "") -> pa.Table:
    """As `decode` gives it: one page view per offset, the users in turn."""
    n = len(offsets)
    names = [users[o % len(users)] for o in offsets]
    received = [T0_US + o * 1_000_000 for o in offsets]
    nulls = pa.nulls(n, pa.string())
    columns: dict[str, pa.Array] = {
        "topic": pa.array([USER_ACTIONS] * n),
        "partition": pa.array([partition] * n, pa.int32()),
        "offset": pa.array(list(offsets), pa.int64()),
        "at_us": pa.array(received, pa.int64()),
        "key": pa.array([u.encode() for u in names]),
        "value": pa.nulls(n, pa.binary()),
        "schema_id": pa.array([1] * n, pa.int32()),
        "reason": nulls,
        "message_id": pa.array([f"{users[0]}-{o}" for o in offsets]),
        "user_id": pa.array(names),
        "anonymous_id": nulls,
        "type": pa.array(["page"] * n),
        "name": pa.array(["Page Viewed"] * n),
        "event_us": pa.array(received, pa.int64()),
        "sent_us": pa.nulls(n, pa.int64()),
        "received_us": pa.array(received, pa.int64()),
        "weight": pa.array([1] * n, pa.int64()),
        **dict.fromkeys(("content_id", "format", "page", "step"), nulls),
        "onboarding_us": pa.nulls(n, pa.int64()),
        "properties": pa.nulls(n, pa.map_(pa.string(), pa.string())),
        "updated_us": pa.nulls(n, pa.int64()),
    }
    table = pa.table(columns)
    return table.append_column("enriched", pa.array([_prefix(row, topic_id) for row in table.to_pylist()]))


def _prefix(row: dict[str, Any], topic_id: str) -> bytes:
    """The beginning of the enriched event, which `decode` has the JVM encode."""
    fields = prefix_fields()[0]
    said = {"source_topic": row["topic"], "source_topic_id": topic_id}
    said |= {"source_partition": row["partition"], "source_offset": row["offset"]}
    said |= {"event_time": row["event_us"], "received_at": row["received_us"], "is_clamped": False, "properties": {}}
    return wire.PartWriter(fields).encode({f["name"]: said.get(f["name"], row.get(f["name"])) for f in fields})

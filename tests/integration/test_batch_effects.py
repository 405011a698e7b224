"""A batch that dies between two of its effects and is done again, by a writer that knows nothing of the first try."""

import uuid
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from kafka_reading import end_offsets, records_since

from feature_repo import progress
from feature_repo.lag import partition_of
from feature_repo.online_store import connect
from feature_repo.row import unpack_rows
from feature_repo.windows import windows
from firstmile.broker import describe_topics, producer
from firstmile.names import ENRICHED, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import Registry
from pipelines.batch import STEPS, BatchWriter
from pipelines.clean import read_mapping
from pipelines.enrich import SideOutputs
from pipelines.lake import without_covered
from pipelines.rows import read_users

T0_US = 1_700_000_000_000_000


class KilledError(Exception):
    """Stands for the end of the process."""


def writer(settings: Settings, topic_id: str, *, dies_after: str | None = None) -> BatchWriter:
    def after(step: str) -> None:
        if step == dies_after:
            raise KilledError

    topic_ids = {USER_ACTIONS: topic_id}
    outputs = SideOutputs(Registry(settings.registry_url), topic_ids)
    client = connect(settings.redis_url, timeout_s=5)
    return BatchWriter(client, producer(settings), outputs, read_mapping(), topic_ids, after)


def decoded(users: list[str], partition: int, offsets: range) -> pa.Table:
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
    return pa.table(columns)


@pytest.mark.parametrize("dies_after", STEPS)
def test_a_batch_done_again_counts_once(stack: Settings, dies_after: str) -> None:
    users = [f"u-{uuid.uuid4()}" for _ in range(3)]
    # A partition number no topic has: its progress record is this test's alone.
    topic_id, partition = str(uuid.uuid4()), 1_000 + STEPS.index(dies_after)
    at = (USER_ACTIONS, partition)
    client = connect(stack.redis_url, timeout_s=5)
    client.hdel(progress.KEY, progress.field(at))
    before = end_offsets(stack, (ENRICHED,))

    with pytest.raises(KilledError):
        writer(stack, topic_id, dies_after=dies_after).write(
            decoded(users, partition, range(30)), start={at: 0}, end={at: 30}
        )
    again = writer(stack, topic_id)
    # After the last effect the batch is Spark's to commit; killed before that, Spark gives it again all the same.
    again.write(decoded(users, partition, range(30)), start={at: 0}, end={at: 30})
    again.write(decoded(users, partition, range(30, 45)), start={at: 30}, end={at: 45})

    counted = windows(unpack_rows(read_users(client, users).activity), np.full(3, T0_US))["page_view_total_count"]
    assert counted.tolist() == [15.0, 15.0, 15.0]
    assert progress.read(client, [at])[at].next_offset == 45
    sent = [record for _, _, record in records_since(stack, before) if record["source_topic_id"] == topic_id]
    assert set(Counter(r["source_offset"] for r in sent)) == set(range(45))
    assert sorted(once(stack, sent)) == list(range(45))
    client.hdel(progress.KEY, progress.field(at))


def once(settings: Settings, records: list[dict[str, object]]) -> list[int]:
    """Source offsets as a reader that goes by them keeps them."""
    names = ("source_topic_id", "source_topic", "source_partition", "source_offset")
    table = pa.table({name: [r[name] for r in records] for name in names})
    n_partitions = describe_topics(settings, [ENRICHED])[ENRICHED].n_partitions
    lies_in = [partition_of(str(r["user_id"]).encode(), n_partitions) for r in records]
    kept = without_covered(table.append_column("enriched_partition", pa.array(lies_in)), {})
    return [int(o) for o in kept["source_offset"].to_pylist()]

"""A batch that dies between two of its effects and is done again, by a writer that knows nothing of the first try."""

import uuid
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from batches import T0_US, decoded, writer
from kafka_reading import end_offsets, records_since

from feature_repo import progress
from feature_repo.online_store import connect
from feature_repo.partitions import partition_of
from feature_repo.progress import Progress
from feature_repo.row import unpack_rows
from feature_repo.windows import windows
from firstmile.broker import describe_topics
from firstmile.names import ENRICHED, USER_ACTIONS
from firstmile.settings import Settings
from pipelines.batch import STEPS
from pipelines.lake import without_covered
from pipelines.rows import read_users


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("dies_after", STEPS)
def test_a_batch_done_again_counts_once(stack: Settings, dies_after: str) -> None:
    users = [f"u-{uuid.uuid4()}" for _ in range(3)]
    # A partition number no topic has: its progress record is this test's alone.
    topic_id, partition = str(uuid.uuid4()), 1_000 + STEPS.index(dies_after)
    at = (USER_ACTIONS, partition)
    client = connect(stack.redis_url, timeout_s=5)
    client.hdel(progress.KEY, progress.field(at))
    before = end_offsets(stack, (ENRICHED,))

    progress.write(client, {}, {at: Progress(0, topic_id, 0)})

    def die(step: str) -> None:
        if step == dies_after:
            raise KilledError

    with pytest.raises(KilledError):
        writer(stack, topic_id, after=die).write(
            decoded(users, partition, range(30), topic_id=topic_id), start={at: 0}, end={at: 30}
        )
    again = writer(stack, topic_id)
    # After the last effect the batch is Spark's to commit; killed before that, Spark gives it again all the same.
    again.write(decoded(users, partition, range(30), topic_id=topic_id), start={at: 0}, end={at: 30})
    again.write(decoded(users, partition, range(30, 45), topic_id=topic_id), start={at: 30}, end={at: 45})

    counted = windows(unpack_rows(read_users(client, users).activity), np.full(3, T0_US))["page_view_total_count"]
    assert counted.tolist() == [15.0, 15.0, 15.0]
    assert progress.read(client, [at])[at].next_offset == 45
    sent = [record for _, _, record in records_since(stack, before) if record["source_topic_id"] == topic_id]
    assert set(Counter(r["source_offset"] for r in sent)) == set(range(45))
    assert sorted(once(stack, sent)) == list(range(45))
    client.hdel(progress.KEY, progress.field(at))


def test_a_partition_added_to_a_topic_is_taken_up_even_by_a_batch_done_again(stack: Settings) -> None:
    users, topic_id = [f"u-{uuid.uuid4()}"], str(uuid.uuid4())
    old, new = (USER_ACTIONS, 1_010), (USER_ACTIONS, 1_011)
    client = connect(stack.redis_url, timeout_s=5)
    client.hdel(progress.KEY, progress.field(old), progress.field(new))
    progress.write(client, {}, {old: Progress(0, topic_id, 0)})
    for _ in range(2):  # Spark's commit was not reached the first time
        writer(stack, topic_id).write(decoded(users, 1_011, range(5)), start={old: 0}, end={old: 0, new: 5})
    assert progress.read(client, [new])[new].next_offset == 5
    counted = windows(unpack_rows(read_users(client, users).activity), np.full(1, T0_US))["page_view_total_count"]
    assert counted.tolist() == [5.0]
    client.hdel(progress.KEY, progress.field(old), progress.field(new))


def once(settings: Settings, records: list[dict[str, object]]) -> list[int]:
    """Source offsets as a reader that goes by them keeps them."""
    names = ("source_topic_id", "source_topic", "source_partition", "source_offset")
    table = pa.table({name: [r[name] for r in records] for name in names})
    n_partitions = describe_topics(settings, [ENRICHED])[ENRICHED].n_partitions
    lies_in = [partition_of(str(r["user_id"]).encode(), n_partitions) for r in records]
    kept = without_covered(table.append_column("enriched_partition", pa.array(lies_in)), {})
    return [int(o) for o in kept["source_offset"].to_pylist()]

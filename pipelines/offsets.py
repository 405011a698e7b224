"""Where the stream stands: offsets of a batch from Spark's checkpoint, and where a new checkpoint starts."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from feature_repo import progress
from feature_repo.progress import Partition, Progress
from firstmile.broker import TopicInfo, admin, kafka_must_answer
from firstmile.errors import StoreLossError
from firstmile.settings import Settings

log = logging.getLogger(__name__)


def checkpoint_folder(root: Path, topics: Mapping[str, TopicInfo]) -> Path:
    """Checkpoint of these very topics: a topic made anew under its old name has another id, and its own checkpoint."""
    ids = ",".join(f"{name}={topics[name].topic_id}" for name in sorted(topics))
    return root / f"stream-{hashlib.sha256(ids.encode()).hexdigest()[:12]}"


def batch_offsets(checkpoint: Path, batch_id: int) -> dict[Partition, int]:
    """End offsets of a batch as Spark wrote them ahead of running it; empty when there is no such batch."""
    path = checkpoint / "offsets" / str(batch_id)
    if batch_id < 0 or not path.exists():
        return {}
    return from_json(path.read_text(encoding="utf-8").splitlines()[-1])


def initial_offsets(checkpoint: Path) -> dict[Partition, int]:
    """Where the first batch of a checkpoint starts, as Spark noted it; empty before there was one."""
    path = checkpoint / "sources" / "0" / "0"
    if not path.exists():
        return {}
    return from_json(path.read_text(encoding="utf-8").splitlines()[-1])


def from_json(text: str) -> dict[Partition, int]:
    """Spark's form of Kafka offsets.

    >>> from_json('{"t":{"1":5,"0":7}}')
    {('t', 1): 5, ('t', 0): 7}
    """
    return {(topic, int(p)): n for topic, by in orjson.loads(text).items() for p, n in by.items()}


def to_json(offsets: Mapping[Partition, int]) -> str:
    """Inverse of from_json."""
    nested: dict[str, dict[str, int]] = {}
    for (topic, number), offset in sorted(offsets.items()):
        nested.setdefault(topic, {})[str(number)] = offset
    return orjson.dumps(nested).decode()


def first_offsets(settings: Settings, topics: Mapping[str, TopicInfo]) -> dict[Partition, int]:
    """Oldest offset Kafka still has of each partition. Raises DependencyError when it does not answer."""
    client = admin(settings)  # named: the futures fail once their client is collected
    wanted = {
        TopicPartition(name, p): OffsetSpec.earliest()
        for name, info in topics.items()
        for p in range(info.n_partitions)
    }
    futures = client.list_offsets(wanted, request_timeout=settings.kafka.timeout_s)
    with kafka_must_answer(settings.kafka_servers):
        return {(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}


def starting_offsets(
    client: "redis.Redis",
    topics: Mapping[str, TopicInfo],
    first: Mapping[Partition, int],
    *,
    archived: Iterable[Partition] = (),
) -> dict[Partition, int]:
    """Where a stream without a checkpoint starts: at its progress record, else at the oldest record Kafka has.

    Partitions without a record of this very topic get one, so that a store that loses them later is noticed.

    archived
        Partitions of these topics that the lake has events of.

    Raises StoreLossError when one of them has no record: a stream was here and the store has lost what it wrote.
    """
    stored = progress.read(client, first)
    start, new = {}, {}
    for partition, oldest in first.items():
        record, topic_id = stored.get(partition), topics[partition[0]].topic_id
        if record is not None and record.topic_id == topic_id:
            start[partition] = record.next_offset
            continue
        if record is None and partition in archived:
            raise StoreLossError(
                f"Redis has no progress record of {partition[0]}/{partition[1]}, yet the lake has events of it: the "
                "online store was emptied; nothing was written. Run `firstmile recover`"
            )
        if record is not None:
            log.warning("topic %s was made anew: starting at its beginning", partition[0])
        start[partition] = oldest
        new[partition] = Progress(oldest, topic_id, 0)
    progress.write(client, {p: stored[p] for p in new if p in stored}, new)
    return start

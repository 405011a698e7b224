"""Whether the online store is the one a batch belongs to: emptied, rolled back or written by a second stream, it is
not."""

from collections.abc import Mapping

import redis

from feature_repo import progress
from feature_repo.progress import Partition, Progress
from firstmile.errors import DependencyError, StoreLossError

Offsets = Mapping[Partition, int]


def require_store(client: "redis.Redis", start: Offsets, topic_ids: Mapping[str, str]) -> dict[Partition, Progress]:
    """Progress records, if the store holds everything before a batch's start.

    Raises StoreLossError when it does not, DependencyError when Redis does not answer.
    """
    try:
        stored = progress.read(client, start)
    except redis.RedisError as error:
        raise DependencyError(f"Redis does not answer: {error}; start the stream again when it does") from error
    for partition, offset in start.items():
        record = stored.get(partition)
        name, number = partition
        if record is None:  # the stream writes one for every partition before its first batch
            raise StoreLossError(
                f"Redis has no progress record of {name}/{number}, yet the stream was at offset {offset}: the "
                "online store was emptied; nothing was written. Stop the stream and run `firstmile recover`"
            )
        if record.topic_id != topic_ids.get(name, record.topic_id):
            raise StoreLossError(
                f"Redis has the progress of topic {name}, id {record.topic_id}, the stream reads the one with "
                f"id {topic_ids[name]}: the online store was rolled back to a copy from before the topic was "
                "made anew; nothing was written. Stop the stream and run `firstmile recover`"
            )
        if record.next_offset < offset:
            raise StoreLossError(
                f"Redis is at offset {record.next_offset} of {name}/{number}, the stream at {offset}: the online "
                "store was rolled back to an older copy; nothing was written. Stop the stream and run "
                "`firstmile recover`"
            )
    return stored


def require_still(
    client: "redis.Redis", start: Offsets, topic_ids: Mapping[str, str], expected: Mapping[Partition, Progress]
) -> bytes:
    """The guard as it is now, if progress is still as the batch found it.

    Raises StoreLossError when it is not.
    """
    guard = progress.guard(client)
    require_store(client, start, topic_ids)
    if progress.read(client, expected) != expected:
        raise StoreLossError("progress moved while a batch was being written: a second stream runs; stop one")
    return guard

"""How far the stream is: one record per topic partition, in the same Redis as the rows it speaks of.

A lost or rolled-back Redis loses or rolls back these records with the rows: that is how the loss is seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import orjson
import redis

from firstmile.errors import StoreLossError

KEY = "firstmile:progress"

_SET_IF_SAME = """
for i = 1, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return ARGV[i] end
end
for i = 1, #ARGV, 3 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
return ''
"""


@dataclass(frozen=True)
class Progress:
    """Everything before `next_offset` of the topic with this id is in the rows.

    received_us
        Greatest received_at applied from this partition, 0 = none yet.
    """

    next_offset: int
    topic_id: str
    received_us: int


Partition = tuple[str, int]


def field(partition: Partition) -> str:
    """Field of a topic partition in the hash.

    >>> field(("onboarding.context", 1))
    'onboarding.context:1'
    """
    return f"{partition[0]}:{partition[1]}"


def parse(data: bytes | None) -> Progress | None:
    """A stored record."""
    return Progress(**orjson.loads(data)) if data else None


def read(client: "redis.Redis", partitions: Iterable[Partition]) -> dict[Partition, Progress]:
    """Records of the partitions that have one."""
    wanted = list(partitions)
    stored: list[bytes | None] = client.hmget(KEY, [field(p) for p in wanted]) if wanted else []  # type: ignore
    records = {p: parse(data) for p, data in zip(wanted, stored, strict=True)}
    return {p: record for p, record in records.items() if record is not None}


def write(client: "redis.Redis", expected: Mapping[Partition, Progress], new: Mapping[Partition, Progress]) -> None:
    """Set records, all or none, if they are still those expected (a partition not in `expected` must have none).

    Raises StoreLossError when they are not: another stream is at work, or the store was lost or rolled back.
    """
    flat: list[str | bytes] = []
    for partition, record in new.items():
        before = expected.get(partition)
        flat += [field(partition), encode(before) if before else b"", encode(record)]
    changed: bytes = client.eval(_SET_IF_SAME, 1, KEY, *flat) if flat else b""  # type: ignore
    if changed:
        raise StoreLossError(
            f"the progress record of {changed.decode()} changed while a batch was being written: either a second "
            "stream runs (stop one), or Redis was emptied or rolled back (run `firstmile recover`)"
        )


def encode(record: Progress) -> bytes:
    """The stored form."""
    return orjson.dumps(asdict(record), option=orjson.OPT_SORT_KEYS)

"""How far the stream is: one record per topic partition, in the same Redis as the rows it speaks of.

A lost or rolled-back Redis loses or rolls back these records with the rows: that is how the loss is seen. Beside them
lies a guard, another value after every write of them: who writes rows names it, so that no row is written into a store
that was emptied or rolled back a moment ago.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import orjson
import redis

from firstmile.errors import DataError, DependencyError, StoreLossError

KEY = "firstmile:progress"
GUARD_KEY = "firstmile:progress-guard"
_REPAIR = f"start the version that wrote it, or delete its field of {KEY} in Redis and run `firstmile recover`"

# A server that was restarted meanwhile may have lost the rows written just before: same records, another run id.
_SET_IF_SAME = """
for i = 3, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return ARGV[i] end
end
if ARGV[2] ~= '' and string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') ~= ARGV[2] then return ARGV[2] end
for i = 3, #ARGV, 3 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
redis.call('SET', KEYS[2], ARGV[1])
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
    """A stored record; what a newer stream may have added is passed over. Raises DataError for a damaged one.

    >>> parse(b'{"next_offset": 3, "topic_id": "t", "received_us": 5, "epoch": 1}')
    Progress(next_offset=3, topic_id='t', received_us=5)
    """
    if not data:
        return None
    try:
        said = orjson.loads(data)
        found = Progress(said["next_offset"], said["topic_id"], said["received_us"])
    except (ValueError, TypeError, LookupError) as error:
        raise DataError(f"the progress record {data[:200]!r} is damaged: {error!r}; {_REPAIR}") from error
    if not (isinstance(found.next_offset, int) and isinstance(found.received_us, int)):
        raise DataError(f"the progress record {data[:200]!r} has no numbers of offset and time; {_REPAIR}")
    return found


def read(client: "redis.Redis", partitions: Iterable[Partition]) -> dict[Partition, Progress]:
    """Records of the partitions that have one, for who writes them.

    Raises DataError for one that is damaged or says more than we do: what was added would be lost, or never match.
    """
    wanted = list(partitions)
    found: dict[Partition, Progress] = {}
    for partition, data in zip(wanted, stored(client, wanted), strict=True):
        record = parse(data)
        if record is None:
            continue
        if encode(record) != data:
            raise DataError(f"the progress record of {field(partition)}, {data!r}, is of another version; {_REPAIR}")
        found[partition] = record
    return found


def stored(client: "redis.Redis", partitions: Sequence[Partition]) -> list[bytes | None]:
    """Records as they are stored, None where there is none."""
    return client.hmget(KEY, [field(p) for p in partitions]) if partitions else []  # type: ignore[return-value]


def n_partitions(client: "redis.Redis", topics: Iterable[str]) -> int:
    """Partitions of the topic that has most, as far as there are records of these; 0 where there are none."""
    fields: list[bytes] = client.hkeys(KEY)  # type: ignore[assignment]
    split = [field.decode(errors="replace").rpartition(":") for field in fields]
    wanted = {*topics}
    return max((int(number) + 1 for topic, _, number in split if topic in wanted and number.isdecimal()), default=0)


def of_fields(
    partitions: Sequence[Partition], stored: Sequence[bytes | None]
) -> tuple[dict[Partition, Progress], dict[Partition, DataError]]:
    """Records of the partitions that have one, of the fields as read, and what is wrong with damaged ones."""
    records: dict[Partition, Progress] = {}
    damaged: dict[Partition, DataError] = {}
    for partition, data in zip(partitions, stored, strict=True):
        try:
            record = parse(data)
        except DataError as error:
            damaged[partition] = error
            continue
        if record is not None:
            records[partition] = record
    return records, damaged


def guard(client: "redis.Redis") -> bytes:
    """What stands for the records as they are: every write of them changes it, a lost store has none."""
    stored: bytes | None = client.get(GUARD_KEY)  # type: ignore[assignment]
    return stored or b""


def run_id(client: "redis.Redis") -> str:
    """Which run of the server answers; another one after every restart and failover."""
    return str(client.info("server")["run_id"])  # type: ignore[index]


def write(
    client: "redis.Redis", expected: Mapping[Partition, Progress], new: Mapping[Partition, Progress], *, run: str = ""
) -> None:
    """Set records, all or none, if they are still those expected (a partition not in `expected` must have none).

    run
        `run_id` read before the rows were written, "" = none were.

    Raises StoreLossError when they are not: another stream is at work, or the store was lost or rolled back.
    Raises DependencyError when the server was restarted since `run` was read: the batch has to be done again.
    """
    flat: list[str | bytes] = []
    for partition, record in new.items():
        before = expected.get(partition)
        flat += [field(partition), encode(before) if before else b"", encode(record)]
    if not flat:
        return
    changed: bytes = client.eval(_SET_IF_SAME, 2, KEY, GUARD_KEY, uuid.uuid4().hex, run, *flat)  # type: ignore
    if changed and changed == run.encode():
        raise DependencyError(
            "Redis was restarted while a batch was being written and may have lost its last rows; progress was not "
            "moved: start the stream again, it does the batch again"
        )
    if changed:
        raise StoreLossError(
            f"the progress record of {changed.decode()} changed while a batch was being written: either a second "
            "stream runs (stop one), or Redis was emptied or rolled back (run `firstmile recover`)"
        )


def encode(record: Progress) -> bytes:
    """The stored form."""
    return orjson.dumps(asdict(record), option=orjson.OPT_SORT_KEYS)

"""The online store every writer goes through: Feast's Redis layout, written by compare-and-set.

One hash per user holds every view's features under Feast's field names, Feast's `_ts:<view>` times, and `_v`: the
user's version, a µs time that every write raises. A write names the version it read; Redis refuses it if that has
changed since:

    stream        read row and _v → fold → write if _v and the progress records are the same, else read again
    materialize   read _v and _ts:<view> → write rows newer than _ts if _v is the same, else read again; what sources
                  said last (latest.py) is merged with what is stored instead, so that no newer trait is lost

so a stalled writer, a `feast materialize` beside the stream or a second stream can never put an old row over a new one.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar

import redis
import redis.asyncio
from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.utils import make_tzaware
from google.protobuf.timestamp_pb2 import Timestamp
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.latest import LATEST_VIEWS, Latest, LatestView, merge
from feature_repo.progress import GUARD_KEY
from firstmile.clock import to_us
from firstmile.errors import ConflictError
from firstmile.names import PROJECT
from firstmile.settings import load_settings

VERSION_FIELD = b"_v"
MAX_TRIES = 50

CHUNK = 256
"""Users per call: Redis answers nobody else meanwhile, one to two ms."""

# First whether the guard is asked for, and what it was. Per user: expected version, new version, number of names and
# values, names and values.
_COMPARE_AND_SET = """
if ARGV[1] == '1' and (redis.call('GET', KEYS[1]) or '') ~= ARGV[2] then return {} end
local at, done = 3, {}
for i = 2, #KEYS do
  local n = tonumber(ARGV[at + 2])
  local same = (redis.call('HGET', KEYS[i], '_v') or '') == ARGV[at]
  if same then redis.call('HSET', KEYS[i], '_v', ARGV[at + 1], unpack(ARGV, at + 3, at + 2 + n)) end
  done[i - 1] = same and 1 or 0
  at = at + 3 + n
end
return done
"""

# One call for many users: the client packs and parses once.
_READ = """
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('HMGET', key, unpack(ARGV)) end
return found
"""

T = TypeVar("T")
Row = tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]


def connect(url: str, *, timeout_s: float) -> "redis.Redis":
    """A client that gives up after the timeout instead of retrying with back-off for seconds."""
    return redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )


def user_key(user_id: str) -> bytes:
    """Redis key of a user's hash, in Feast's layout."""
    return _key("user_id", user_id)


def content_key(content_id: str) -> bytes:
    """Redis key of the hash of a content item, in Feast's layout."""
    return _key("content_id", content_id)


def _key(entity: str, value: str) -> bytes:
    head, tail = _around(entity)
    text = value.encode()
    return head + len(text).to_bytes(4, "little") + text + tail


@cache
def _around(entity: str) -> tuple[bytes, bytes]:
    """What stands before an id's length and after the id in Feast's key: Feast serializes once per entity."""
    probe = EntityKeyProto(join_keys=[entity], entity_values=[ValueProto(string_val=_PROBE)])
    key = bytes(_redis_key(PROJECT, probe, entity_key_serialization_version=3))
    head, tail = key.split(len(_PROBE).to_bytes(4, "little") + _PROBE.encode())
    return head, tail


_PROBE = "an id that stands nowhere else in its key"


def feature_field(view: str, feature: str) -> bytes:
    """Field of a feature in a user's hash, in Feast's layout."""
    return bytes(_mmh3(f"{view}:{feature}"))


def time_field(view: str) -> bytes:
    """Field of a view's time in a user's hash, in Feast's layout."""
    return f"_ts:{view}".encode()


def time_bytes(us: int) -> bytes:
    """A view's time as Feast stores it."""
    stamp = Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1_000)
    return bytes(stamp.SerializeToString())


def time_of(data: bytes | None) -> int:
    """µs of a stored view's time; 0 when there is none."""
    if not data:
        return 0
    stamp = Timestamp.FromString(data)
    return int(stamp.seconds) * 1_000_000 + int(stamp.nanos) // 1_000


def plain_value(data: bytes | None) -> Any:
    """A stored feature as a Python value; None when there is none."""
    if not data:
        return None
    return _plain(ValueProto.FromString(data))


def _plain(value: ValueProto) -> Any:
    kind = value.WhichOneof("val")
    return getattr(value, kind) if kind else None


def latest_fields(view: LatestView, latest: Latest) -> dict[bytes, bytes]:
    """All fields of a view as they are stored; what is not known is an empty value."""
    return {feature_field(view.name, name): _proto(value) for name, value in view.stored(latest).items()}


def _proto(value: str | int | float | None) -> bytes:
    match value:
        case None:
            proto = ValueProto()
        case int():
            proto = ValueProto(int64_val=value)
        case float():
            proto = ValueProto(double_val=value)
        case _:
            proto = ValueProto(string_val=value)
    return bytes(proto.SerializeToString())


@dataclass(frozen=True)
class UserWrite:
    """New fields of one user's hash.

    expected_us
        Version that was read, 0 for no row; the write is refused if it is another by now.
    version_us
        New version, greater than expected_us.
    """

    key: bytes
    expected_us: int
    version_us: int
    fields: Mapping[bytes, bytes]


def compare_and_set(client: "redis.Redis", writes: Sequence[UserWrite], *, guard: bytes | None = None) -> list[bool]:
    """Write each user whose version is still the expected one; which were written.

    guard
        `progress.guard` as read before the rows: nothing is written once it is another. None: not asked for.
    """
    script = client.register_script(_COMPARE_AND_SET)
    pipe = client.pipeline(transaction=False)  # Redis works on one call while the next is written
    for some in batched(writes, CHUNK):
        values: list[bytes | str | int] = [int(guard is not None), guard or b""]
        for write in some:
            values += [str(write.expected_us) if write.expected_us else "", write.version_us, 2 * len(write.fields)]
            for pair in write.fields.items():
                values += pair
        script(keys=[GUARD_KEY, *(write.key for write in some)], args=values, client=pipe)
    done = zip(batched(writes, CHUNK), pipe.execute(), strict=True)
    return [bool(written) for some, found in done for written in found or [0] * len(some)]


def read_fields(client: "redis.Redis", keys: Sequence[bytes], fields: Sequence[bytes]) -> list[list[bytes | None]]:
    """The fields of each hash, None where there is none."""
    script = client.register_script(_READ)
    pipe = client.pipeline(transaction=False)
    for some in batched(keys, CHUNK):
        script(keys=list(some), args=list(fields), client=pipe)
    return [found for chunk in pipe.execute() for found in chunk]


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive pieces.

    >>> list(batched([1, 2, 3], 2))
    [[1, 2], [3]]
    """
    return (items[i : i + size] for i in range(0, len(items), size))


class FencedRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]
    """Config; the address comes from Firstmile's settings unless `url` is given."""

    type: Literal["feature_repo.online_store.FencedRedisOnlineStore"] = (
        "feature_repo.online_store.FencedRedisOnlineStore"
    )
    url: str | None = None


class FencedRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]
    """Feast's Redis store with its writes replaced by compare-and-set."""

    _client: "redis.Redis | None" = None
    _client_async: Any = None

    def _get_client(self, online_store_config: FencedRedisOnlineStoreConfig) -> "redis.Redis":
        if not self._client:
            url, timeout_s = _address(online_store_config)
            self._client = connect(url, timeout_s=timeout_s)
        return self._client

    async def _get_client_async(self, online_store_config: FencedRedisOnlineStoreConfig) -> Any:
        if not self._client_async:
            url, timeout_s = _address(online_store_config)
            self._client_async = redis.asyncio.Redis.from_url(url, socket_timeout=timeout_s)
        return self._client_async

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """Write rows newer than what is stored; called by `feast materialize` and `write_to_online_store`.

        Raises ConflictError when other writers kept changing the same users.
        """
        client = self._get_client(config.online_store)
        pending = _newest(config, data)
        for _ in range(MAX_TRIES):
            writes = list(_writes(client, table.name, pending))
            done = compare_and_set(client, writes)
            pending = {w.key: pending[w.key] for w, ok in zip(writes, done, strict=True) if not ok}
            if not pending:
                break
        else:
            raise ConflictError(f"{len(pending)} users of {table.name} changed at every one of {MAX_TRIES} tries")
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """The same in a thread, for Feast's asynchronous callers: their loop turns meanwhile."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)


def _address(config: FencedRedisOnlineStoreConfig) -> tuple[str, float]:
    if config.url:
        return config.url, 5.0
    settings = load_settings()
    return settings.redis_url, settings.redis.timeout_s


def _newest(config: RepoConfig, data: Iterable[Row]) -> dict[bytes, tuple[int, dict[str, ValueProto]]]:
    newest: dict[bytes, tuple[int, dict[str, ValueProto]]] = {}
    for entity, values, timestamp, _ in data:
        key = _redis_key(config.project, entity, entity_key_serialization_version=3)
        us = to_us(make_tzaware(timestamp))  # Feast hands over naive UTC times
        if key not in newest or us > newest[key][0]:
            newest[key] = (us, values)
    return newest


def _writes(
    client: "redis.Redis", view: str, pending: Mapping[bytes, tuple[int, dict[str, ValueProto]]]
) -> Iterable[UserWrite]:
    merged = LATEST_VIEWS.get(view)
    names = merged.fields if merged else ()
    asked = [VERSION_FIELD, time_field(view), *(feature_field(view, name) for name in names)]
    stored = read_fields(client, list(pending), asked)
    for (key, (us, values)), (version, view_time, *found) in zip(pending.items(), stored, strict=True):
        view_us, expected_us = time_of(view_time), int(version or 0)
        if merged is not None:
            before = merged.read({name: plain_value(data) for name, data in zip(names, found, strict=True)})
            after = merge((before, merged.read({name: _plain(value) for name, value in values.items()})))
            if after == before:
                continue
            fields, us = latest_fields(merged, after), max(us, view_us)
        elif us <= view_us:
            continue
        else:
            fields = {feature_field(view, name): value.SerializeToString() for name, value in values.items()}
        fields[time_field(view)] = time_bytes(us)
        yield UserWrite(key, expected_us, max(us, expected_us + 1), fields)

"""What happened with content items, read as serving and the archive read it: one HMGET per item, in one round trip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
import redis

from feature_repo.fields import BY_SEGMENT, CONTENT, CONTENT_COUNTS
from feature_repo.online_store import content_key, feature_field, plain_value, time_field, time_of

_READ = [time_field(CONTENT), feature_field(CONTENT, BY_SEGMENT)]

Counts = Mapping[str, int]


@dataclass(frozen=True)
class ContentStats:
    """Statistics of one content item.

    known_us
        Greatest received_at counted, or more: the view's time in the store.
    by_segment
        Counts by name (CONTENT_COUNTS) by segment, `<skill level>/<stage>` as it was at the event.
    """

    content_id: str
    known_us: int
    by_segment: Mapping[str, Counts]

    def total(self) -> dict[str, int]:
        """Counts over all segments."""
        return {name: sum(counts[name] for counts in self.by_segment.values()) for name in CONTENT_COUNTS}


def read_content(client: "redis.Redis", content_ids: Sequence[str]) -> dict[str, ContentStats]:
    """Statistics of the items that have any.

    Raises redis.RedisError when the store does not answer in time.
    """
    with client.pipeline(transaction=False) as pipe:
        for content_id in content_ids:
            pipe.hmget(content_key(content_id), _READ)  # type: ignore[arg-type]
        replies = pipe.execute()
    return {
        content_id: ContentStats(content_id, time_of(known), unpack_segments(plain_value(packed)))
        for content_id, (known, packed) in zip(content_ids, replies, strict=True)
        if known
    }


def pack_segments(by_segment: Mapping[str, Sequence[int]]) -> str:
    """The stored form of `by_segment`; lists in the order of CONTENT_COUNTS.

    >>> pack_segments({"unknown/new": [3, 2, 0, 0, 0, 0, 9]})
    '{"unknown/new":[3,2,0,0,0,0,9]}'
    """
    return orjson.dumps(by_segment, option=orjson.OPT_SORT_KEYS).decode()


def unpack_segments(text: str | None) -> dict[str, Counts]:
    """Inverse of pack_segments; a count that was not there when it was written is 0.

    >>> unpack_segments('{"unknown/new":[3,2]}')["unknown/new"]["n_opened"]
    2
    """
    found: dict[str, list[int]] = orjson.loads(text or "{}")
    n = len(CONTENT_COUNTS)
    return {s: dict(zip(CONTENT_COUNTS, [*values, *[0] * n][:n], strict=True)) for s, values in found.items()}

"""What happened with content items, read as serving and the archive read it: one HMGET per item, in one round trip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import redis

from feature_repo.content_earlier import Openings, unpack_openings
from feature_repo.content_segments import Counts, unpack_segments
from feature_repo.fields import BY_SEGMENT, CONTENT, CONTENT_COUNTS, OPENINGS
from feature_repo.online_store import content_key, feature_field, plain_value, read_fields, time_field, time_of

_READ = [time_field(CONTENT), feature_field(CONTENT, BY_SEGMENT), feature_field(CONTENT, OPENINGS)]


@dataclass(frozen=True)
class ContentStats:
    """Statistics of one content item.

    known_us
        Greatest received_at counted, or more: the view's time in the store.
    by_segment
        Counts by name (CONTENT_COUNTS) by segment, `<skill level>/<stage>` as it was at the event.
    openings
        Of the last days, for `content_earlier.opened_earlier`.
    """

    content_id: str
    known_us: int
    by_segment: Mapping[str, Counts]
    openings: Openings | None = None

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
        content_id: ContentStats(
            content_id, time_of(known), unpack_segments(plain_value(packed)), unpack_openings(plain_value(openings))
        )
        for content_id, (known, packed, openings) in zip(content_ids, replies, strict=True)
        if known
    }


def known_times(client: "redis.Redis", content_ids: Sequence[str]) -> dict[str, int]:
    """`known_us` of the items that have statistics: by it a reader tells which have changed since it last read.

    Raises redis.RedisError when the store does not answer in time.
    """
    replies = read_fields(client, [content_key(c) for c in content_ids], [time_field(CONTENT)])
    return {c: time_of(known) for c, (known,) in zip(content_ids, replies, strict=True) if known}

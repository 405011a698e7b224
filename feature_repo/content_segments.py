"""The stored form of a content item's counts by segment. Knows nothing of Feast, whose import takes seconds."""

from collections.abc import Mapping, Sequence

import orjson

from feature_repo.fields import CONTENT_COUNTS

Counts = Mapping[str, int]


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

"""How much one caller may ask for."""

from collections import OrderedDict
from dataclasses import dataclass

MAX_CALLERS = 20_000
EVERYBODY_ELSE = ""
"""Shares one bucket: who comes while all places are taken by callers that are still being counted."""


@dataclass
class _Bucket:
    tokens: float
    at_s: float


class RateLimit:
    """A token bucket per caller: `per_s` sustained, `burst` at once; 0 per second means no limit.

    Remembers `max_callers` at most. Only a bucket that is full again is forgotten, which changes nothing; while there
    is none, newcomers share one. So nobody gets a fresh bucket by driving his own out with many names.

    >>> limit = RateLimit(per_s=1, burst=2)
    >>> [limit.wait_s("u1", now_s=t) for t in (0.0, 0.25, 0.5, 1.5)]
    [0.0, 0.0, 0.5, 0.0]
    """

    def __init__(self, *, per_s: float, burst: float, max_callers: int = MAX_CALLERS) -> None:
        self.per_s = per_s
        self.burst = burst
        self._max_callers = max_callers
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, caller: str, *, now_s: float) -> float:
        """0 when this call is within the limit, and takes a token; else seconds until there is one.

        now_s
            Of any one monotonic clock.
        """
        if not self.per_s:
            return 0.0
        bucket = self._bucket(caller, now_s)
        bucket.tokens = self._tokens(bucket, now_s)
        bucket.at_s = now_s
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self.per_s
        bucket.tokens -= 1
        return 0.0

    def _bucket(self, caller: str, now_s: float) -> _Bucket:
        if caller not in self._buckets and len(self._buckets) >= self._max_callers:
            oldest = next(iter(self._buckets))
            if self._tokens(self._buckets[oldest], now_s) >= self.burst:
                del self._buckets[oldest]
            else:
                caller = EVERYBODY_ELSE
        bucket = self._buckets.setdefault(caller, _Bucket(self.burst, now_s))
        self._buckets.move_to_end(caller)
        return bucket

    def _tokens(self, bucket: _Bucket, now_s: float) -> float:
        return min(self.burst, bucket.tokens + (now_s - bucket.at_s) * self.per_s)

"""How much one caller may ask for."""

from collections import OrderedDict

MAX_CALLERS = 20_000


class RateLimit:
    """A token bucket per caller: `per_s` sustained, `burst` at once; 0 per second means no limit.

    >>> limit = RateLimit(per_s=1, burst=2)
    >>> [limit.allows("u1", now_s=t) for t in (0.0, 0.1, 0.2, 1.2)]
    [True, True, False, True]
    """

    def __init__(self, *, per_s: float, burst: float) -> None:
        self.per_s = per_s
        self.burst = burst
        self._tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str, *, now_s: float) -> bool:
        """Whether this call is within the limit; takes a token if so. Times of any one monotonic clock."""
        if not self.per_s:
            return True
        tokens, at_s = self._tokens.pop(caller, (self.burst, now_s))
        tokens = min(self.burst, tokens + (now_s - at_s) * self.per_s)
        is_allowed = tokens >= 1
        self._tokens[caller] = (tokens - is_allowed, now_s)
        if len(self._tokens) > MAX_CALLERS:
            self._tokens.popitem(last=False)
        return is_allowed

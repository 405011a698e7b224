"""When a worker is ready: what /readyz says."""

import threading
import time
from collections.abc import Callable
from typing import Final

import redis

from serving.features import Reader, read_users

GIVE_UP_S: Final = 15.0
"""How long a store may be away from a worker that starts: then it answers without, by rules."""
NOBODY: Final = ""
"""Whose row is read: a user id nobody can have, because requests with it are refused."""


class Readiness:
    """Not ready until models are warm and one row was read within its deadline; then ready for good.

    For good, because from then on an answer always comes: a store that goes away later lowers the rung of the answers,
    and taking every replica out of service for it would leave no answers at all. Nor would a worker that is started
    anew during an outage come back: it waits GIVE_UP_S for its first row, then answers by rules.

    first_look
        Set when every champion is loaded and checked, or MLflow is known to be away.
    """

    def __init__(
        self,
        first_look: threading.Event,
        reader: Reader,
        *,
        timeout_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now_s = now_s
        self._began_s = now_s()
        self._first_look = first_look
        self._reader = reader
        self._timeout_s = timeout_s
        self._has_read = False

    async def is_ready(self) -> bool:
        """Asks the store until it has once answered in time."""
        if not self._first_look.is_set():
            return False
        self._has_read = self._has_read or await self._reads_in_time()
        return self._has_read or self._now_s() - self._began_s >= GIVE_UP_S

    async def _reads_in_time(self) -> bool:
        started_s = time.perf_counter()
        try:
            await read_users(self._reader, [(NOBODY, 0)])
        except (redis.RedisError, OSError):
            return False
        return time.perf_counter() - started_s <= self._timeout_s

"""When a worker is ready: what /readyz says."""

import threading
import time

import redis

from serving.features import Reader, read_users

NOBODY = ""
"""Whose row is read: a user id nobody can have, because requests with it are refused."""


class Readiness:
    """Not ready until models are warm and one row was read within its deadline; then ready for good.

    For good, because from then on an answer always comes: a store that goes away later lowers the rung of the answers,
    and taking every replica out of service for it would leave no answers at all.

    first_look
        Set when every champion is loaded and checked, or MLflow is known to be away.
    """

    def __init__(self, first_look: threading.Event, reader: Reader, *, timeout_s: float) -> None:
        self._first_look = first_look
        self._reader = reader
        self._timeout_s = timeout_s
        self._has_read = False

    def is_ready(self) -> bool:
        """Asks the store until it has once answered in time; blocking."""
        if not self._first_look.is_set():
            return False
        self._has_read = self._has_read or self._reads_in_time()
        return self._has_read

    def _reads_in_time(self) -> bool:
        started_s = time.perf_counter()
        try:
            read_users(self._reader, [(NOBODY, 0)])
        except (redis.RedisError, OSError):
            return False
        return time.perf_counter() - started_s <= self._timeout_s

"""Who writes: the key of a request to the collector, or of each of its events.

A key stands in the header Authorization (Bearer, or the user name of Basic), in the address (?writeKey=), in the body
(writeKey) or in the events of a batch; the first of these places that has one counts.
"""

import base64
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from firstmile.http.guard import Guard
from firstmile.http.keys import Key
from firstmile.http.refusals import RefusalError

FIELD = "writeKey"


class RequestKeys:
    """The keys of one request, let in as they are read: what is wrong with one is said before more is done.

    Raises RefusalError from every method: 401 without a valid key, 403 for a secret key from a page, 429 too often.
    """

    def __init__(self, guard: Guard, request: Request, *, now_s: float) -> None:
        """Let the key of the head in. Without one there the address is charged: a body is read for it."""
        self._guard, self._request, self._now_s = guard, request, now_s
        self._admitted: dict[str, Key] = {}
        given = _header_key(request)
        if given is None:
            given = request.query_params.get(FIELD) or None
        self._whole = None if given is None else self._admit(given)
        if self._whole is None or self._whole.scope == "publishable":
            guard.charge_address(request, now_s=now_s)

    def read(self, body: Mapping[str, Any]) -> None:
        """Let the key of the body in, where the head had none."""
        given = body.get(FIELD)
        if self._whole is None and given is not None and given != "":
            self._whole = self._admit(given)

    def of(self, call: Any) -> Key:
        """The key that a call of the body is written with."""
        return self._whole or self._admit(call.get(FIELD) if isinstance(call, Mapping) else None)

    def charge(self, used: set[Key]) -> None:
        """Count the request for the publishable keys that something was taken with."""
        for key in used:
            if key.scope == "publishable":
                self._guard.charge(key, now_s=self._now_s)

    def _admit(self, given: Any) -> Key:
        if isinstance(given, str) and given in self._admitted:
            return self._admitted[given]
        key = self._guard.find(given) if isinstance(given, str) else None
        if key is None:
            raise RefusalError(
                401,
                "bad_write_key",
                message="no valid write key was given",
                hint="send it as the user name of HTTP Basic, as `Authorization: Bearer KEY`, as `?writeKey=KEY` or as "
                "`writeKey` in the body; `firstmile keys new` makes a key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        self._guard.enter(key, self._request, now_s=self._now_s)
        self._admitted[given] = key
        return key


def _header_key(request: Request) -> str | None:
    """The key of the Authorization header, None when there is no header."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0] if scheme.lower() == "basic" else ""
    except ValueError:  # no base64, or no UTF-8
        return ""

"""Who may ask or write, for whom, and how often: what stands between a request and the two HTTP APIs."""

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Final, Protocol

from starlette.requests import Request

from firstmile.http.keys import Key, KeyRing
from firstmile.http.limits import RateLimit
from firstmile.http.refusals import RefusalError

ANONYMOUS: Final = re.compile(r"anon_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""Ids of visitors that a browser makes: random, so that nobody guesses one, and no product's own user_id."""
MAX_KEY: Final = 512


class Identified(Protocol):
    """Whom a request is about."""

    @property
    def user_id(self) -> str | None: ...
    @property
    def user_hash(self) -> str | None: ...
    @property
    def anonymous_id(self) -> str | None: ...
    @property
    def subject(self) -> str: ...


class Rates(Protocol):
    """How often keys and addresses may ask: settings of either API. Sustained, per process; 0: no limit."""

    @property
    def key_requests_per_s(self) -> float: ...
    @property
    def address_requests_per_s(self) -> float: ...


class Guard:
    """The keys valid now, and the limits per address, key and user. Used from one event loop.

    A request is let in twice: by its head, before its body is read, and by what it asks for. A publishable key, which
    every visitor has, is charged only the second time: what is refused costs the address alone.
    """

    def __init__(self, rates: Rates, keys: Callable[[], KeyRing], *, user_requests_per_s: float = 0.0) -> None:
        self._keys = keys
        self._addresses = _limit(rates.address_requests_per_s)
        self._by_key = _limit(rates.key_requests_per_s)
        self.users = _limit(user_requests_per_s)

    @property
    def n_callers(self) -> int:
        """Addresses, keys and users that are being counted."""
        return len(self._addresses) + len(self._by_key) + len(self.users)

    def admit(self, request: Request, *, now_s: float) -> Key:
        """The key of a request. Raises RefusalError: 401 without a valid key, 403 in a wrong place, 429 too often."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        key = self.find(given) if scheme.lower() == "bearer" else None
        if key is None:
            raise RefusalError(
                401,
                "unauthorized",
                message="no valid API key was given",
                hint="send the header `Authorization: Bearer KEY`; `firstmile keys new` makes a key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        self.enter(key, request, now_s=now_s)
        if key.scope == "publishable":
            self.charge_address(request, now_s=now_s)
        return key

    def find(self, given: str) -> Key | None:
        """The key that a text is, None when it is not a valid one."""
        given = given.strip()
        return self._keys().find(given) if 0 < len(given) <= MAX_KEY else None

    def enter(self, key: Key, request: Request, *, now_s: float) -> None:
        """Let a secret key in, and charge it. Raises RefusalError: 403 from a page, 429 too often."""
        if key.scope != "secret":  # everybody has it: what all share is charged when the request is a proven one
            return
        if "origin" in request.headers:
            raise RefusalError(
                403,
                "secret_key_in_browser",
                message=f"key {key.id!r} is a secret key and was sent by a page, where every visitor can read it",
                hint="take it back, and let pages use a publishable key: `firstmile keys new --scope publishable`",
            )
        self.charge(key, now_s=now_s)

    def allow(self, key: Key, wanted: Identified, *, now_s: float) -> None:
        """Let this key ask for this user. Raises RefusalError: 403 when it may not, 429 when it did too often."""
        if key.scope == "publishable":
            self._prove(wanted)
            self.charge(key, now_s=now_s)
        _within(self.users, wanted.subject, "this user", now_s=now_s)

    def charge(self, key: Key, *, now_s: float) -> None:
        """Count a request of a key. Raises RefusalError: 429 when there were too many."""
        _within(self._by_key, key.id, f"key {key.id!r}", now_s=now_s)

    def charge_address(self, request: Request, *, now_s: float) -> None:
        """Count a request of an address. Raises RefusalError: 429 when there were too many."""
        address = network(request.client.host) if request.client else ""
        _within(self._addresses, address, "this address", now_s=now_s)

    def prove(self, user_id: str, user_hash: str | None) -> None:
        """Hold a user against the proof given of them. Raises RefusalError: 403 when it proves nothing."""
        keys = self._keys()
        if not keys.has_identity_secret:
            raise unproven(
                "this server has no identity secret, so it can prove no user",
                hint="set FIRSTMILE_SERVING__IDENTITY_SECRET, or send an anonymous id",
            )
        if user_hash is None or not keys.proves(user_id, user_hash):
            wrong = "is missing" if user_hash is None else "is not that of this user"
            raise unproven(
                f"user_hash {wrong}",
                hint="your server makes it: hex HMAC-SHA256(identity secret, user id); see `firstmile keys hash USER`",
            )

    def _prove(self, wanted: Identified) -> None:
        if wanted.user_id is not None:
            self.prove(wanted.user_id, wanted.user_hash)
        elif not ANONYMOUS.fullmatch(wanted.anonymous_id or ""):
            raise unproven(
                "with a publishable key an anonymous_id is `anon_` and a random UUID in lower case",
                hint="let the browser make it: 'anon_' + crypto.randomUUID()",
            )


def visitor_id(anonymous_id: str) -> str | None:
    """The id of a visitor as a browser makes it, `anon_` and a random UUID; None when it is another kind of id.

    >>> visitor_id("0B0F3B1C-6A5E-4C1E-9D2A-5F0C4C1E9D2A")
    'anon_0b0f3b1c-6a5e-4c1e-9d2a-5f0c4c1e9d2a'
    >>> visitor_id("u17")
    """
    written = "anon_" + anonymous_id.lower().removeprefix("anon_")
    return written if ANONYMOUS.fullmatch(written) else None


def network(host: str) -> str:
    """What one client has of addresses: one of IPv4, the 2**72 of a home's prefix (/56, RFC 6177) of IPv6.

    Anything else is itself: a proxy's word.

    >>> network("10.0.0.1"), network("::ffff:10.0.0.1"), network("2001:db8:0:ff::aa:1")
    ('10.0.0.1', '10.0.0.1', '2001:db8::/56')
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address) >> 72 << 72, 56)))


def _limit(per_s: float) -> RateLimit:
    return RateLimit(per_s=per_s, burst=max(1.0, 2 * per_s))


def _within(limit: RateLimit, caller: str, who: str, *, now_s: float) -> None:
    wait_s = limit.wait_s(caller, now_s=now_s)
    if wait_s:
        raise RefusalError(
            429,
            "too_many_requests",
            message=f"more than {limit.per_s:g} requests per second for {who}",
            hint="wait as Retry-After says, and send less often",
            headers={"Retry-After": str(math.ceil(wait_s))},
        )


def unproven(message: str, *, hint: str) -> RefusalError:
    """A refusal of a publishable key that speaks for a user without their proof."""
    return RefusalError(403, "user_not_proven", message=message, hint=hint)

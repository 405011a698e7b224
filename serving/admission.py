"""The first layer of the server: decisions take the short way, and past capacity they are shed.

    uvicorn -> FirstLayer -> one decision            POST /api/personalization
                          -> the decision API        the same of a page of another origin, or by another method
                          -> BentoML                 everything else: probes, metrics

BentoML's own layers (traffic metrics, OpenTelemetry, a task for its timeout, the request's context) cost a request
several times what authenticating, parsing and shedding it do together, and they stand before anything a service can
add. So decisions do not pass through them; nor through Starlette's routes, which a decision does not need.
"""

from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from firstmile.setting_sections import ServingSettings
from serving.address import PREFIX, ROUTE
from serving.heartbeat import Heartbeat


@dataclass
class Admission:
    """Which decisions may begin: with all of them in one interpreter, the last one admitted waits for all the others.

    n_in_flight
        Decisions begun and not answered.
    heartbeat
        Sees what the count cannot: requests that have come and were not begun, and threads that keep the interpreter.
    """

    n_in_flight: int = 0
    heartbeat: Heartbeat = field(default_factory=Heartbeat)

    def sheds(self, settings: ServingSettings) -> bool:
        """Whether a request is to be answered with the default flow now."""
        return self.n_in_flight >= settings.max_in_flight or self.heartbeat.lag_ms() > settings.max_lag_ms

    def __enter__(self) -> None:
        """A decision begins."""
        self.n_in_flight += 1

    def __exit__(self, *_: object) -> None:
        """It ended, one way or the other."""
        self.n_in_flight -= 1


class FirstLayer:
    """Decisions straight to their app, anything else to the server behind it.

    The app authenticates and parses before it sheds: 10 µs, with no waiting for a body that came with its head. So
    who may not ask is told so at any load, and a shed answer is of the user's arm too.
    """

    def __init__(self, behind: ASGIApp, api: ASGIApp, decision: ASGIApp) -> None:
        self._behind = behind
        self._api = api
        self._decision = decision

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PREFIX + ROUTE:
            await self._behind(scope, receive, send)
        elif scope["method"] == "POST" and not any(name == b"origin" for name, _ in scope["headers"]):
            await self._decision(scope, receive, send)
        else:
            await self._api({**scope, "root_path": PREFIX}, receive, send)

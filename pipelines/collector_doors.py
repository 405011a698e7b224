"""The addresses of the collector: one form of each, whatever slashes and prefix a client writes."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

BEACON: Final = "beacon"
"""RudderStack's clients put it before the address when a page is left."""


class PlainAddresses:
    """Lets an app see `/v1/batch` where a client asked for `//v1/batch/` or `/beacon/v1/batch`.

    A redirect would lose the event: a beacon follows none, and some clients make a GET of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": plain(scope["path"])}
        await self._app(scope, receive, send)


def plain(path: str) -> str:
    """The one form of an address.

    >>> plain("//v1/batch/"), plain("/beacon/v1/batch"), plain("/")
    ('/v1/batch', '/v1/batch', '/')
    """
    parts = [part for part in path.split("/") if part]
    return "/" + "/".join(parts[1:] if parts[:1] == [BEACON] else parts)

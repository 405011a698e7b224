"""Which pages may read answers: an allow-list of origins, none unless set."""

from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from firstmile.errors import SettingsError

HEADERS = ("Authorization", "Content-Type", "traceparent", "tracestate", "sentry-trace", "baggage")
"""What a page may send: the key and the kind of body, and what tracing in a page adds to every request."""
MAX_AGE_S = 600
"""How long a browser may remember a yes: so long an origin taken off the list is still let in."""


def cors_middleware(cors_origins: str) -> list[Middleware]:
    """What lets pages of these origins call the API; nothing when there are none. Raises as `origins` does."""
    allowed = origins(cors_origins)
    if not allowed:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=allowed,
            allow_methods=["POST"],
            allow_headers=HEADERS,
            allow_credentials=False,  # a key stands in a header, never in a cookie: no other page can borrow it
            expose_headers=["Retry-After"],
            max_age=MAX_AGE_S,
        )
    ]


def origins(text: str) -> list[str]:
    """The origins of a setting. Raises SettingsError for what is not `https://host[:port]`.

    >>> origins("https://app.example.com, http://localhost:5173")
    ['https://app.example.com', 'http://localhost:5173']
    """
    found = text.replace(",", " ").split()
    for origin in found:
        parts = urlsplit(origin)
        is_origin = (
            parts.scheme in ("http", "https") and parts.hostname and origin == f"{parts.scheme}://{parts.netloc}"
        )
        if not is_origin or "*" in origin:
            raise SettingsError(
                f"{origin!r} in FIRSTMILE_SERVING__CORS_ORIGINS is no origin; give scheme, host and port as browsers "
                "say them, separated by commas: https://app.example.com,http://localhost:5173 (no *, no path)"
            )
    return found

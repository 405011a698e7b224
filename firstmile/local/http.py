"""One small HTTP question with a deadline, for health checks."""

import urllib.error
import urllib.request
from http.client import HTTPException

PROBE_S = 1.0


def http_problem(url: str) -> str | None:
    """None when a GET answers 200 within a second, else what happened."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_S) as answer:
            return None if answer.status == 200 else f"{url} answered {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return f"{url}: {getattr(error, 'reason', error)}"

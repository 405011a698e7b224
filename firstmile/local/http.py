"""Small HTTP questions with a deadline, for health checks and proofs."""

import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

import orjson

from firstmile.errors import DependencyError

PROBE_S = 1.0
ANSWER_S = 10.0


def http_problem(url: str) -> str | None:
    """None when a GET answers 200 within a second, else what happened."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_S) as answer:
            return None if answer.status == 200 else f"{url} answered {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return f"{url}: {getattr(error, 'reason', error)}"


def http_json(url: str) -> dict[str, Any]:
    """The JSON object a GET answers. Raises DependencyError when there is none."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            found: dict[str, Any] = orjson.loads(answer.read())
            return found
    except (OSError, HTTPException, ValueError) as error:
        raise DependencyError(f"{url} did not answer with JSON: {error}") from error

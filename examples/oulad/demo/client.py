"""What the demo asks the decision API and tells the collector, over HTTP as any client does."""

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import orjson

from firstmile.errors import DependencyError
from firstmile.settings import Settings

TIMEOUT_S = 5.0
Answer = dict[str, Any]

# Of one request, never of a user.
PER_REQUEST = ("request_id", "latency_ms", "feature_lag_ms", "token")


@dataclass(frozen=True)
class Client:
    """Both HTTP APIs under the demo's settings."""

    settings: Settings

    @property
    def decision_url(self) -> str:
        """The decision API."""
        return f"http://{self.settings.serving.host}:{self.settings.serving.port}/api/personalization"

    @property
    def collector_url(self) -> str:
        """The collector."""
        return f"http://{self.settings.collector.host}:{self.settings.collector.port}"

    def decide(self, user_id: str) -> Answer:
        """One answer. Raises DependencyError when there is none."""
        key = self.settings.serving.api_key.get_secret_value()
        return _post(self.decision_url, {"user_id": user_id, "context": {}, "limit": 5}, key)

    def track(self, events: list[dict[str, Any]]) -> None:
        """Send events; returns when Kafka has them. Raises DependencyError when they were not taken."""
        key = self.settings.collector.write_key.get_secret_value()
        if len(events) == 1:
            _post(f"{self.collector_url}/v1/track", events[0], key)
        else:
            _post(f"{self.collector_url}/v1/batch", {"batch": events}, key)

    def curl(self, user_id: str) -> str:
        """A line for a shell that asks for one decision."""
        body = orjson.dumps({"user_id": user_id}).decode()
        key = self.settings.serving.api_key.get_secret_value()
        headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
        return f"curl -s {self.decision_url} {headers} -d '{body}'"


def _post(url: str, body: dict[str, Any], key: str) -> Answer:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, orjson.dumps(body), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            found: Answer = orjson.loads(answer.read())
            return found
    except urllib.error.HTTPError as error:
        raise DependencyError(f"{url} answered {error.code}: {error.read()[:300]!r}") from error
    except (OSError, HTTPException) as error:
        raise DependencyError(f"{url} does not answer: {getattr(error, 'reason', error)}") from error


def timed_decide(client: Client, user_id: str) -> tuple[Answer, float]:
    """(answer, milliseconds as the caller saw them)."""
    began = time.perf_counter()
    answer = client.decide(user_id)
    return answer, (time.perf_counter() - began) * 1_000


def comparable(answer: Answer) -> Answer:
    """The answer without what belongs to the one request."""
    parts = {**answer, "experiment": _without(answer["experiment"])}
    return _without(parts)


def _without(part: Answer) -> Answer:
    return {key: value for key, value in part.items() if key not in PER_REQUEST}

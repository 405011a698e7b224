"""A collector in this process: real guard, rules and records, and a delivery that keeps what it is sent."""

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import fastavro
import httpx
import orjson
import pyarrow as pa
from prometheus_client.parser import text_string_to_metric_families

from firstmile.clock import FixedClock
from firstmile.http.guard import Guard
from firstmile.http.keys import Key, KeyRing, digest
from firstmile.names import STREAM_TOPICS
from firstmile.setting_sections import CollectorSettings
from firstmile.wire import HEADER, Record, RecordWriter
from pipelines.collector_app import Collector, build_app
from pipelines.decode_records import decode_records
from pipelines.delivery import Queued
from pipelines.reading import SCHEMA, Reading, parsed
from pipelines.rules import Rules
from pipelines.topics import schema_text

SECRET, PUBLISHABLE = "a-secret-key", "a-publishable-key"
IDENTITY_SECRET = "sesame"
RECEIVED_US = 1_795_435_200_000_000
"""2026-11-23T12:00:00Z"""
SCHEMA_OF_RAW = pa.schema(list(SCHEMA)[:6])
PAGE = {"Origin": "https://app.example"}


class Schemas:
    """The repository's own schemas, where a registry is asked for them."""

    def latest(self, topic: str) -> tuple[int, str]:
        return 1, schema_text(topic)


@dataclass
class Kept:
    """A delivery into a list."""

    fatal: str | None = None
    queued: list[Queued] = field(default_factory=list)

    async def send(self, records: Sequence[Queued]) -> None:
        self.queued += records

    def check(self, topic: str, timeout_s: float) -> None: ...

    def close(self) -> int:
        return 0

    def records(self) -> list[tuple[str, Record]]:
        """(topic, record) of everything sent."""
        return [(topic, decoded(topic, value)) for topic, _, value in self.queued]

    def reasons(self) -> list[str | None]:
        """Why the stream would not use each record, None = it would."""
        rows = [(topic, 0, i, RECEIVED_US, key.encode(), value) for i, (topic, key, value) in enumerate(self.queued)]
        names = ("topic", "partition", "offset", "at_us", "key", "value")
        raw = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], SCHEMA_OF_RAW)
        found: list[str | None] = decode_records(raw, lambda topic, _: schema_text(topic), Reading())[
            "reason"
        ].to_pylist()
        return found


def decoded(topic: str, value: bytes) -> Record:
    """A framed record."""
    record = fastavro.schemaless_reader(io.BytesIO(value[HEADER.size :]), parsed(schema_text(topic)), None)
    assert isinstance(record, dict)
    return record


class Door:
    """The HTTP side of a collector: `post` asks it, `kept` has what went to Kafka."""

    def __init__(
        self, rules: Rules | None = None, *, secrets: Sequence[str] = (IDENTITY_SECRET,), **limits: Any
    ) -> None:
        settings = CollectorSettings(**limits)
        keys = {digest(SECRET): Key("crm", "secret"), digest(PUBLISHABLE): Key("web", "publishable")}
        ring = KeyRing(keys, secrets)
        writers: Any = {topic: RecordWriter(Schemas(), topic) for topic in STREAM_TOPICS}  # type: ignore[arg-type]
        self.kept = Kept()
        opened: Any = lambda: self.kept  # noqa: E731
        guard = Guard(settings, lambda: ring)
        self.collector = Collector(settings, writers, FixedClock(RECEIVED_US), guard, opened, rules or Rules())
        self.app = build_app(self.collector)

    def ask(self, method: str, path: str, *, address: str = "10.0.0.1", **request: Any) -> httpx.Response:
        """One request."""

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(address, 1))
            async with (
                self.collector.lifespan(self.app),
                httpx.AsyncClient(transport=transport) as client,
            ):
                return await client.request(method, f"http://x{path}", **request)

        return asyncio.run(call())

    def post(self, body: Any, path: str = "/v1/track", *, key: str | None = SECRET, **more: Any) -> httpx.Response:
        """A body, JSON unless it is bytes, with a key in the header unless it is None."""
        headers = {**({} if key is None else {"Authorization": f"Bearer {key}"}), **more.pop("headers", {})}
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return self.ask("POST", path, content=content, headers=headers, **more)

    def counted(self, name: str) -> dict[str, float]:
        """A counter of /metrics by code."""
        families = text_string_to_metric_families(self.ask("GET", "/metrics").text)
        samples = [s for family in families for s in family.samples if s.name == f"firstmile_collector_{name}_total"]
        return {s.labels.get("code", ""): s.value for s in samples}


def track(**call: Any) -> dict[str, Any]:
    """A track call of user u1 with defaults."""
    return {"type": "track", "userId": "u1", "event": "Form Submitted", **call}


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which has the form of every refusal."""
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert all(error.values())
    return response.status_code, error["code"]


def listed(response: httpx.Response, what: str) -> list[tuple[int, str]]:
    """Place and code of what a 200 lists under `errors` or `notes`."""
    assert response.status_code == 200, response.text
    return [(each["index"], each["code"]) for each in response.json().get(what, [])]

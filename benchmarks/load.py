"""Open-loop HTTP load on the decision API, as a process of its own: `python -m benchmarks.load '{"port": 18080, …}'`.

Requests are sent when they are due, whether or not those before were answered, and latency counts from when a request
was due: a server that stops is charged for everything that would have been asked meanwhile (no coordinated omission).
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

OVERDUE_S = 10.0
N_SLOWEST = 5


@dataclass
class Outcome:
    """What a run was answered: latencies in ms from the due time, statuses, rungs, reasons."""

    latency_ms: list[float] = field(default_factory=list)
    due_s: list[float] = field(default_factory=list)
    sent_late_ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    rungs: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    slowest: list[dict[str, Any]] = field(default_factory=list)

    def remember(self, answer: dict[str, Any]) -> None:
        """Keep it if it is among the N_SLOWEST."""
        self.slowest = sorted([*self.slowest, answer], key=lambda a: -float(a["ms"]))[:N_SLOWEST]


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self.is_open = False

    def connection_made(self, transport: Any) -> None:
        """Ready for a request."""
        self.transport, self.is_open = transport, True

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        """Send one; resolves to (status, body)."""
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        self._data += data
        head, found, body = bytes(self._data).partition(b"\r\n\r\n")
        if not found or self._waiter is None:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._data.clear()
            waiter, self._waiter = self._waiter, None
            if not waiter.done():
                waiter.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits is told."""
        self.is_open = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error or ConnectionResetError("closed without an answer"))


class Load:
    """Requests of random known users at Poisson times."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._idle: list[Connection] = []
        self.outcome = Outcome()
        head = (
            f"POST /api/personalization HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {plan['key']}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._requests = []
        for user in plan["users"]:
            body = orjson.dumps({"user_id": user, "context": {"page": "/welcome", "locale": "en"}, "limit": 5})
            self._requests.append(f"{head}{len(body)}\r\n\r\n".encode() + body)

    async def run(self) -> Outcome:
        """Send everything the plan says, wait for the last answers."""
        rng = np.random.default_rng(self._plan["seed"])
        n = int(self._plan["rate"] * self._plan["seconds"])
        due = np.cumsum(rng.exponential(1 / self._plan["rate"], n)).tolist()
        who = rng.integers(0, len(self._requests), n).tolist()
        began, pending = time.perf_counter(), set[asyncio.Task[None]]()  # of all 120,000, gather alone takes 0.4 s
        for at, user in zip(due, who, strict=True):
            wait_s = began + at - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            pending.add(task := asyncio.create_task(self._one(self._requests[user], began + at, at)))
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)
        return self.outcome

    async def _one(self, request: bytes, due_s: float, at_s: float) -> None:
        out = self.outcome
        out.sent_late_ms.append(late_ms := (time.perf_counter() - due_s) * 1_000)
        try:
            async with asyncio.timeout(OVERDUE_S):
                connection = await self._connection()
                asked_ms = (time.perf_counter() - due_s) * 1_000
                status, body = await connection.ask(request)
        except (OSError, TimeoutError) as error:
            out.statuses[type(error).__name__] += 1
            return
        out.latency_ms.append(took_ms := (time.perf_counter() - due_s) * 1_000)
        out.due_s.append(at_s)
        self._idle.append(connection)
        out.statuses[str(status)] += 1
        if status == 200:
            answer = orjson.loads(body)
            out.rungs[answer["rung"]] += 1
            out.reasons.update(answer["reasons"])
            out.versions[answer["models"].get("activation", "none")] += 1
            if len(out.slowest) < N_SLOWEST or took_ms > out.slowest[-1]["ms"]:
                told = {"server_ms": answer["latency_ms"], "rung": answer["rung"], "reasons": answer["reasons"]}
                when = {"at_s": at_s, "ms": took_ms, "begun_after_ms": late_ms, "sent_after_ms": asked_ms}
                out.remember({**when, **told})

    async def _connection(self) -> Connection:
        while self._idle:
            if (idle := self._idle.pop()).is_open:
                return idle
        _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._plan["port"])
        return made


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p90, p99, p99.9 and the greatest; nothing for nothing."""
    if not values:
        return {}
    found = np.percentile(values, [50, 90, 99, 99.9, 100])
    return dict(zip(("p50", "p90", "p99", "p99.9", "max"), (round(float(v), 2) for v in found), strict=True))


def report(outcome: Outcome, plan: dict[str, Any]) -> dict[str, Any]:
    """The run in figures; `over_ms` of the plan counts what was answered later than that."""
    return {
        "rate": plan["rate"],
        "seconds": plan["seconds"],
        "n_answered": len(outcome.latency_ms),
        "latency_ms": percentiles(outcome.latency_ms),
        "n_over_200_ms": sum(ms > 200 for ms in outcome.latency_ms),
        "statuses": dict(outcome.statuses),
        "rungs": dict(outcome.rungs),
        "reasons": dict(outcome.reasons),
        "activation_versions": dict(outcome.versions),
        "slowest": outcome.slowest,
        "sent_late_ms": percentiles(outcome.sent_late_ms),  # the generator's own lateness, part of the latencies
        "by_quarter_p99_ms": _by_quarter(outcome, plan["seconds"]),
    }


def _by_quarter(outcome: Outcome, seconds: float) -> list[float]:
    quarter = np.minimum(np.array(outcome.due_s) / seconds * 4, 3).astype(int)
    latency = np.array(outcome.latency_ms)
    return [round(float(np.percentile(latency[quarter == q], 99)), 2) for q in range(4) if (quarter == q).any()]


def main() -> None:
    """One run; the plan is the argument, the report is on stdout."""
    plan = orjson.loads(sys.argv[1])
    if plan.get("core") is not None:
        os.sched_setaffinity(0, {plan["core"]})
    gc.disable()  # a collection stopped the generator for 130 ms, and every request due meanwhile was charged for it
    plan["users"] = [f"{plan['prefix']}-{i}" for i in range(plan["n_users"])]
    print(json.dumps(report(_run(plan), plan)))


def _run(plan: dict[str, Any]) -> Outcome:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(Load(plan).run())
    return uvloop.run(Load(plan).run())


if __name__ == "__main__":
    main()

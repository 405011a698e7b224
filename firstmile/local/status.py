"""`firstmile status`: every part, every process of the demo, and how far the stream is behind."""

from collections.abc import Iterator
from dataclasses import asdict

from rich.markup import escape

from firstmile.cli import console, emit
from firstmile.local import process
from firstmile.local.lag import PartitionLag, stream_lag
from firstmile.local.stack import PartState, Stack
from firstmile.settings import PARTS, load_settings


def run() -> None:
    """Say how every part is: pid, address, health, data folder, log; and the stream's lag per topic partition."""
    settings = load_settings()
    stack = Stack(settings)
    parts = stack.status()
    others = [_other(stack, name) for name in process.recorded(stack.run_folder) if name not in PARTS]
    healthy = {p.name for p in parts if p.is_healthy}
    lag = stream_lag(settings) if healthy >= {"kafka", "redis"} else None
    for line in (*_lines(parts, others), _lag_line(lag)):
        console.print(line, soft_wrap=True, highlight=False)
    emit(
        {
            "home": str(settings.home),
            "parts": {p.name: asdict(p) for p in parts},
            "processes": {p["name"]: p for p in others},
            "stream_lag": None if lag is None else [asdict(entry) for entry in lag],
        }
    )


def _other(stack: Stack, name: str) -> dict[str, str | int | bool | None]:
    found = process.find(stack.run_folder, name)
    log = found.log if found else stack.settings.logs / f"{name}.log"
    return {"name": name, "is_running": found is not None, "pid": found.pid if found else None, "log": str(log)}


def _lines(parts: list[PartState], others: list[dict[str, str | int | bool | None]]) -> Iterator[str]:
    for part in parts:
        health = "[green]healthy[/]" if part.is_healthy else f"[red]{escape(part.problem or 'not healthy')}[/]"
        who = f"pid {part.pid}, data {part.data}, log {part.log}" if part.is_ours else "run by somebody else"
        yield f"{part.name:<9} {health}  {part.address}  [dim]{who}[/]"
    for other in others:
        health = "[green]running[/]" if other["is_running"] else "[red]died[/]"
        yield f"{other['name']:<9} {health}  [dim]pid {other['pid']}, log {other['log']}[/]"


def _lag_line(lag: list[PartitionLag] | None) -> str:
    if lag is None:
        return "stream: its lag cannot be read while Kafka or Redis is away"
    if not lag:
        return "stream: no progress record yet; it has not finished a batch in this home"
    behind = "; ".join(f"{p.topic}:{p.partition} {p.n_behind:,} behind" for p in lag if p.n_behind)
    return f"stream: {behind or 'everything in Kafka is in the rows'}"

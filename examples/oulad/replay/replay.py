"""`firstmile replay`: recorded history through Kafka, as if it were happening.

tables ── oulad_profiles ──► crm.profiles           first, so that no event meets an unknown person
       └─ oulad_events ────► the three event topics  all at once, or with --live today's at today's pace
"""

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.oulad.events.events import oulad_events
from examples.oulad.events.profiles import oulad_profiles, profile_records
from examples.oulad.events.records import event_records
from examples.oulad.replay.plan import Span, plan, read_history, refuse_overlap
from examples.oulad.replay.play import Player, profile_stream
from examples.oulad.tables import tables as oulad
from firstmile.broker import producer
from firstmile.cli import console, emit
from firstmile.clock import Clock, SystemClock, to_datetime
from firstmile.settings import Settings, load_settings
from firstmile.wire import Registry
from pipelines.topics import ensure_topics, record_writers

CLICK_NAMES = ("Page Viewed", "Content Opened")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def _replay() -> None:
    """Play recorded history through Kafka."""


@app.command("oulad")
def run(
    data: Annotated[Path, typer.Option(help="Folder of the OULAD files.")],
    presentations: Annotated[str, typer.Option(help="Comma-separated, like AAA_2014J; empty: all.")] = "",
    from_day: Annotated[int | None, typer.Option(help="First day of the course to play; none: from the first.")] = None,
    to_day: Annotated[int | None, typer.Option(help="Last day to play; with --live it is put on today.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Put --to-day on today and play it within --minutes.")] = False,
    minutes: Annotated[float, typer.Option(min=0.0, help="How long today's events take with --live.")] = 5.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Play even what materialized history already has.")] = False,
) -> None:
    """OULAD click by click: profiles first, then every event of the days asked for."""
    settings, clock = load_settings(), SystemClock()
    names = [p.strip() for p in presentations.split(",") if p.strip()] or None
    tables = oulad.read(data, names)
    today = to_datetime(clock.now_us()).date()
    spans = plan(tables.presentations, from_day=from_day, to_day=to_day, live_on=today if live else None)
    if not fresh:
        refuse_overlap(spans, read_history(settings.history / "oulad.json"))
    emit(replay(settings, tables, spans, minutes=minutes if live else None, clock=clock))


def replay(
    settings: Settings,
    tables: oulad.OuladTables,
    spans: dict[str, Span],
    *,
    minutes: float | None,
    clock: Clock,
    wait: Callable[[float], object] | None = None,
) -> dict[str, Any]:
    """Play the spans (one range of days, a shift each); `minutes` None: everything at once.

    wait
        Passes so many seconds of the clock, or less; None: real time.

    Returns what was sent: records by topic, click events and their weight, seconds. Raises DependencyError when
    Kafka or the registry is away.
    """
    ensure_topics(settings)
    began = time.monotonic()
    shifts = {name: span.shift_days for name, span in spans.items()}
    span = next(iter(spans.values()))
    events = oulad_events(tables, from_day=span.from_day, to_day=span.to_day, shift_days=shifts)
    profiles = oulad_profiles(tables, to_day=span.to_day, shift_days=shifts)
    now_us = clock.now_us()
    past, today = _split(events, to_datetime(now_us).date()) if minutes is not None else (events, events.slice(0, 0))

    # A short queue: a dead broker is noticed within one timeout, and nothing waits in it for longer than that.
    out = producer(settings, **{"queue.buffering.max.messages": 20_000, "linger.ms": 20})
    writers = record_writers(Registry(settings.registry_url, timeout_s=settings.registry.timeout_s))
    with _progress() as progress:
        task = progress.add_task("history", total=profiles.num_rows + past.num_rows)
        player = Player(out, writers, clock, wait, told=lambda n: progress.update(task, advance=n))
        player.at_once(profile_stream(profile_records(profiles), now_us=now_us))
        player.at_once(event_records(past))
        history_s = time.monotonic() - began
        if minutes is not None:
            task = progress.add_task(f"today, {minutes:g} min", total=today.num_rows)
            player.paced(today, minutes)
    clicks = events.filter(pc.is_in(events["name"], pa.array(CLICK_NAMES)))
    return {
        "presentations": {name: s.__dict__ for name, s in spans.items()},
        "records": dict(sorted(out.n_sent.items())),
        "n_users": pc.count_distinct(events["user_id"]).as_py(),
        "click_events": clicks.num_rows,
        "click_weight": pc.sum(clicks["weight"], min_count=0).as_py(),
        "n_today": today.num_rows,
        "history_s": round(history_s, 2),
        "history_records_per_s": round((profiles.num_rows + past.num_rows) / history_s),
        "seconds": round(time.monotonic() - began, 2),
    }


def _split(events: pa.Table, today: date) -> tuple[pa.Table, pa.Table]:
    """(events before today, today's): a day's events are received on that day."""
    at = pc.less(events["received_us"], oulad.date_start_us(today))
    return events.filter(at), events.filter(pc.invert(at))


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console)

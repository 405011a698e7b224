"""Writes the demo's recorded events to the offline history: the same clean and fold as the stream, without Kafka.

OULAD tables ─► events ─► clean ─► fold per user and minute ─► history/user_activity/*.parquet
             │                     └► with their segment ────► content/events ─► history/content_stats
             └► profiles, context ─────────────────────────► history/user_profile, user_context
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.oulad.events.events import SEED, DayRange
from examples.oulad.events.milestones import milestones
from examples.oulad.events.profiles import TRAITS, oulad_profiles
from examples.oulad.history.shard import Shard, by_presentation
from examples.oulad.tables import tables as oulad
from feature_repo.applied import message_hash
from feature_repo.latest import PROFILE_VIEW
from firstmile.cli import console, emit
from firstmile.cores import usable_cores
from firstmile.errors import DataError
from firstmile.product import require_product
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings, load_settings
from pipelines.backfill_content import backfill_content
from pipelines.clean import read_mapping
from pipelines.content_tiles import ContentTiles
from pipelines.rules import REASONS, read_rules
from pipelines.statements import statement
from pipelines.view_history import latest_history, write_file

MIN_CLICKS_PER_SHARD = 20_000
"""For fewer, a process costs more than it saves."""
MAX_USERS_PER_SHARD = 1_300
"""What a process holds of events, some 400,000 here; fewer users would be folded in as many rounds as these."""
MAX_WORKERS = 8
MANIFEST = "oulad.json"


def run(
    data: Annotated[Path, typer.Option(help="folder of the OULAD tables")] = ROOT / "data" / "oulad",
    presentations: Annotated[str, typer.Option(help="for example BBB_2013B,AAA_2013J; default: all")] = "",
    from_day: Annotated[int | None, typer.Option(help="first day, counted from the start of the course")] = None,
    to_day: Annotated[int | None, typer.Option(help="last day")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help=f"processes; default: one per core, at most {MAX_WORKERS}")
    ] = None,
    content: Annotated[bool, typer.Option(help="count content statistics of these too, by Spark")] = True,
) -> None:
    """Write the history of chosen presentations; what was there of them is replaced."""
    chosen = [p for p in presentations.split(",") if p] or None
    settings = load_settings()
    tables = oulad.read(data, chosen)
    workers = workers or min(usable_cores(), MAX_WORKERS)
    written = backfill_oulad(settings, tables, days=(from_day, to_day), workers=workers, content=content)
    if not content:
        ContentTiles(settings).ensure_history()
    emit({**written, "content": backfill_content(settings, "oulad") if content else None})


def backfill_oulad(
    settings: Settings,
    tables: oulad.OuladTables,
    *,
    days: tuple[int | None, int | None],
    workers: int,
    content: bool = True,
) -> dict[str, Any]:
    """Write history/user_activity, user_profile, user_context and, unless `content` is false, content/events.

    Returns what was written.

    Raises DataError when the range holds no event.
    """
    started = time.monotonic()
    require_product(settings.product)
    mapping, rules = read_mapping(settings.product_file("events")), read_rules(settings.product_file("cleaning"))
    range_ = DayRange(*days)
    if not range_.of(tables.clicks, "date").num_rows and not range_.of(milestones(tables, SEED), "day").num_rows:
        raise DataError(f"no events in days {days[0]} … {days[1]}; courses run from about -25 to 269")
    if (rules.left_out(pd.DataFrame({"user_id": tables.users().to_pandas()})) >= 0).all():
        raise DataError(f"{settings.product_file('cleaning')} leaves out every user; nothing was written")
    names = sorted(set(tables.info["presentation"].to_pylist()))
    _forget(settings, names)
    about = settings.content / "events" if content else None
    written = _write_shards(Shard(settings.history, about, mapping, rules, range_), tables, workers)
    if not written["n_events"]:
        raise DataError(
            f"no events in days {days[0]} … {days[1]} that {settings.product_file('cleaning')} does not leave out"
        )
    profiles = oulad_profiles(tables, to_day=days[1]).to_pandas()
    profiles = profiles[~rules.internal.among(profiles)]
    _write_profiles(settings.history, profiles)
    history_to_us = written.pop("history_to_us")
    _note(settings.history, names, days, history_to_us)
    return {
        "presentations": names,
        **written,
        "n_profiles": len(profiles),
        "history_to_us": history_to_us,
        "seconds": round(time.monotonic() - started, 2),
    }


def _write_shards(shard: Shard, tables: oulad.OuladTables, workers: int) -> dict[str, int]:
    """All shards; sums of what they wrote, and the greatest history_to_us."""
    users = tables.users()
    least = max(1, min(workers, tables.clicks.num_rows // MIN_CLICKS_PER_SHARD))
    n_shards = max(least, -(-len(users) // MAX_USERS_PER_SHARD))
    shard_of = message_hash(users.to_numpy(zero_copy_only=False)) % n_shards
    parts = [users.filter(pa.array(shard_of == i)) for i in range(n_shards)]
    total: Counter[str] = Counter({"n_events": 0, **{f"n_dropped_{name}": 0 for name in REASONS}})
    history_to_us = 0
    columns = (TextColumn("backfill"), BarColumn(), MofNCompleteColumn(), TextColumn("users"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        bar = progress.add_task("backfill", total=len(users))
        for i, found in _written(shard, tables, parts, min(workers, n_shards)):
            history_to_us = max(history_to_us, found.pop("history_to_us", 0))
            total.update(found)
            progress.advance(bar, len(parts[i]))
    return {**total, "history_to_us": history_to_us}


def _written(
    shard: Shard, tables: oulad.OuladTables, parts: Sequence[pa.Array], workers: int
) -> Iterator[tuple[int, dict[str, int]]]:
    """What became of each part of the users, as it is done: as many at a time as there are workers."""
    if workers == 1:
        yield from ((i, shard.write(i, tables.of(own))) for i, own in enumerate(parts))
        return
    waiting: dict[Future[dict[str, int]], int] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for i, own in enumerate(parts):
            waiting[pool.submit(shard.write, i, tables.of(own))] = i
            while len(waiting) > (workers if i < len(parts) - 1 else 0):  # no more tables wait than that
                for job in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(job), job.result()


def _write_profiles(history: Path, profiles: pd.DataFrame) -> None:
    """One file per presentation of what the CRM said."""
    for name, part in by_presentation(profiles):
        said = (
            statement(
                PROFILE_VIEW, row["user_id"], row["updated_us"], row["received_us"], {n: str(row[n]) for n in TRAITS}
            )
            for row in part.to_dict("records")
        )
        write_file(history / "user_profile" / f"oulad-{name}.parquet", latest_history(PROFILE_VIEW, said))


def _forget(settings: Settings, presentations: Iterable[str]) -> None:
    for name in presentations:
        for old in (settings.content / "events").glob(f"oulad-{name}*"):
            old.unlink()
        for old in settings.history.glob(f"user_*/oulad-{name}*"):
            if old.is_dir():
                shutil.rmtree(old)
            elif old.parent.name != "user_audit":
                old.unlink()


def _note(history: Path, names: list[str], days: tuple[int | None, int | None], history_to_us: int) -> None:
    """Say what the history holds, for `replay` to refuse an overlap."""
    path = history / MANIFEST
    blank: dict[str, Any] = {"presentations": {}, "history_to_us": 0}
    noted: dict[str, Any] = json.loads(path.read_text()) if path.exists() else blank
    for name in names:
        noted["presentations"][name] = {"from_day": days[0], "to_day": days[1], "shift_days": 0}
    noted["history_to_us"] = max(noted["history_to_us"], history_to_us)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(noted, indent=1))
    unfinished.replace(path)

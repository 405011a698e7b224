"""Recorded events to the offline history: the same clean and the same fold as the stream, without Kafka.

OULAD tables ─► events ─► clean ─► fold per user and minute ─► history/user_activity/*.parquet
             │                     └► with their segment ────► content/events ─► history/content_stats
             └► profiles, context ─────────────────────────► history/user_profile, user_context
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import typer
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from feature_repo.applied import message_hash
from firstmile import oulad
from firstmile.cli import console, emit
from firstmile.errors import DataError
from firstmile.names import CONTEXT, FAMILIES
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings, load_settings
from pipelines.backfill_content import backfill_content
from pipelines.backfill_lake import backfill_lake, grouped
from pipelines.clean import CleanEvents, clean, read_mapping
from pipelines.content_tiles import ContentTiles
from pipelines.history import SCHEMA, activity_history
from pipelines.mapping import EventMapping
from pipelines.oulad_events import SEED, DayRange, oulad_events
from pipelines.oulad_milestones import milestones
from pipelines.oulad_profiles import TRAITS, oulad_profiles
from pipelines.rules import REASONS, Rules, read_rules
from pipelines.view_history import ReplacedFile, Said, context_history, profile_history, write_file

MIN_CLICKS_PER_SHARD = 20_000
"""For fewer, a process costs more than it saves."""
MAX_USERS_PER_SHARD = 1_300
"""What a process holds of events, some 400,000 here; fewer users would be folded in as many rounds as these."""
MANIFEST = "oulad.json"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Events to offline history.")


@app.callback()
def _backfill() -> None:
    """Events to offline history, through the same fold as the stream."""


@app.command("oulad")
def run_oulad(
    data: Annotated[Path, typer.Option(help="folder of the OULAD tables")] = ROOT / "data" / "oulad",
    presentations: Annotated[str, typer.Option(help="for example BBB_2013B,AAA_2013J; default: all")] = "",
    from_day: Annotated[int | None, typer.Option(help="first day, counted from the start of the course")] = None,
    to_day: Annotated[int | None, typer.Option(help="last day")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = min(os.cpu_count() or 1, 8),
    content: Annotated[bool, typer.Option(help="count content statistics of these too, by Spark")] = True,
) -> None:
    """Write the history of chosen presentations; what was there of them is replaced."""
    chosen = [p for p in presentations.split(",") if p] or None
    settings = load_settings()
    tables = oulad.read(data, chosen)
    written = backfill_oulad(settings, tables, days=(from_day, to_day), workers=workers, content=content)
    if not content:
        ContentTiles(settings).ensure_history()
    emit({**written, "content": backfill_content(settings, "oulad") if content else None})


@app.command("lake")
def run_lake() -> None:
    """Write the history of everything the archive has committed; what was there of it is replaced."""
    settings = load_settings()
    emit({**backfill_lake(settings), "content": backfill_content(settings, "lake")})


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
    mapping, rules = read_mapping(settings.stream.events), read_rules(settings.stream.rules)
    range_ = DayRange(*days)
    if not range_.of(tables.clicks, "date").num_rows and not range_.of(milestones(tables, SEED), "day").num_rows:
        raise DataError(f"no events in days {days[0]} … {days[1]}; courses run from about -25 to 269")
    names = sorted(set(tables.info["presentation"].to_pylist()))
    _forget(settings, names)
    about = settings.content / "events" if content else None
    written = _write_shards(_Shard(settings.history, about, mapping, rules, range_), tables, workers)
    n_dropped = {name: n for name, n in written.items() if name.startswith("n_dropped_")}
    if not written["n_events"]:
        raise DataError(
            f"no events in days {days[0]} … {days[1]}: {settings.stream.rules} leaves out all {sum(n_dropped.values())}"
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


def _kept(events: pa.Table, rules: Rules) -> tuple[pa.Table, dict[str, int]]:
    """The events the rules keep, and how many they leave out by reason: here, while properties are still there."""
    reason = rules.left_out(events.select(["user_id"]).to_pandas())
    some = np.flatnonzero(_says_any(events["properties"], rules.watched))
    if len(some):  # most events say nothing that is looked at, and turning their properties into Python takes seconds
        reason[some] = rules.left_out(events.select(["user_id", "properties"]).take(some).to_pandas())
    dropped = {f"n_dropped_{name}": int((reason == i).sum()) for i, name in enumerate(REASONS)}
    return events.filter(pa.array(reason < 0)) if any(dropped.values()) else events, dropped


def _says_any(properties: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which property maps have one of the names, shape (n,)."""
    asked = pa.array(list(names), pa.string())
    maps = properties.combine_chunks()
    # Every map's pairs lie one behind the other: how many of the asked names stand before each edge.
    n_found = np.concatenate(([0], np.cumsum(pc.is_in(maps.keys, asked).to_numpy(zero_copy_only=False))))
    edges = maps.offsets.to_numpy() - maps.offsets[0].as_py()
    return np.asarray(np.diff(n_found[edges]) > 0)


@dataclass(frozen=True)
class _Shard:
    """Tables of some users to files, one per presentation, each put in place when it is whole.

    history
        Folder of the offline history.
    about
        Folder of the events about content; None: they are not wanted.
    """

    history: Path
    about: Path | None
    mapping: EventMapping
    rules: Rules
    days: DayRange

    def write(self, i: int, tables: oulad.OuladTables) -> dict[str, int]:
        """Shard i; returns what it wrote, in numbers."""
        events, dropped = _kept(oulad_events(tables, from_day=self.days.first, to_day=self.days.last), self.rules)
        if not events.num_rows:
            return dropped
        history_to_us = int(pc.max(events["received_us"]).as_py())
        clicks = events.filter(pc.is_in(events["name"], pa.array(["Page Viewed", "Content Opened"])))
        written = {
            "n_events": events.num_rows,
            **dropped,
            "n_users": pc.count_distinct(events["user_id"]).as_py(),
            "click_events": clicks.num_rows,
            "click_weight": pc.sum(clicks["weight"]).as_py() or 0,
            "history_to_us": history_to_us,
        }
        _write_contexts(self.history, events.filter(pc.equal(events["topic"], CONTEXT)), i)
        frame = events.drop_columns(["properties"]).to_pandas()
        del events, clicks  # the greater half of a worker's memory
        return {**written, "n_history_rows": self._fold(i, frame, history_to_us)}

    def _fold(self, i: int, frame: pd.DataFrame, history_to_us: int) -> int:
        """The rules have kept all of its events. Returns the number of rows."""
        events, folder = clean(frame, self.mapping, Rules()), self.history / "user_activity"
        segment_of = None if self.about is None else np.full(len(frame), "", object)
        names = sorted(set(_presentation(pd.Series(frame["user_id"].unique()))))
        with ExitStack() as stack:
            files = {name: stack.enter_context(ReplacedFile(folder / _file(name, i), SCHEMA)) for name in names}
            for table in grouped(activity_history(events, history_to_us=history_to_us, segment_of=segment_of)):
                of = _presentation(table["user_id"].to_pandas()).to_numpy(str)
                for name, file in files.items():
                    file.write(table.filter(pa.array(of == name)))
        if self.about is not None and segment_of is not None:
            content = _about_content(events, segment_of)
            for name, part in _by_presentation(content):
                write_file(self.about / _file(name, i), pa.Table.from_pandas(part, preserve_index=False))
        return sum(file.n_rows for file in files.values())


def _file(presentation: str, i: int) -> str:
    return f"oulad-{presentation}-{i}.parquet"


def _write_shards(shard: _Shard, tables: oulad.OuladTables, workers: int) -> dict[str, int]:
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
    shard: _Shard, tables: oulad.OuladTables, parts: Sequence[pa.Array], workers: int
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


def _about_content(events: CleanEvents, segment_of: NDArray[np.object_]) -> pd.DataFrame:
    """What `content_stats` reads of the events that name a content item."""
    columns = ["user_id", "message_id", "content_id", "name", "weight", "received_us"]
    families = np.array([*FAMILIES, None], object)  # the last is that of NOT_COUNTED, -1
    named = events.frame[columns].assign(family=families[events.family], segment=segment_of)
    return named[named["content_id"].notna()]


def _write_profiles(history: Path, profiles: pd.DataFrame) -> None:
    """One file per presentation of what the CRM said."""
    for name, part in _by_presentation(profiles):
        said = Said(
            part["user_id"].tolist(),
            part["updated_us"].tolist(),
            part["received_us"].tolist(),
            [dict(zip(TRAITS, values, strict=True)) for values in part[list(TRAITS)].itertuples(index=False)],
        )
        write_file(history / "user_profile" / f"oulad-{name}.parquet", profile_history(said))


def _write_contexts(history: Path, observed: pa.Table, i: int) -> None:
    """One file per presentation of what the clients of shard i said."""
    for name, part in _by_presentation(observed.to_pandas()):
        said = Said(
            part["user_id"].tolist(),
            part["event_us"].tolist(),
            part["received_us"].tolist(),
            [dict(p) for p in part["properties"]],
        )
        write_file(history / "user_context" / _file(name, i), context_history(said))


def _by_presentation(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, part in frame.groupby(_presentation(frame["user_id"]), sort=True):
        yield str(name), part


def _presentation(user_ids: pd.Series) -> pd.Series:
    """Of each user, `<presentation>-<student>`."""
    code, users = pd.factorize(user_ids)
    names: pd.Series = pd.Series(users).str.rpartition("-")[0].iloc[code].set_axis(user_ids.index)
    return names


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

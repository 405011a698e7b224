"""A shard of the backfill: the events of some users, and the files they become."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from examples.oulad.events.events import DayRange, oulad_events
from examples.oulad.tables import tables as oulad
from feature_repo.latest import CONTEXT_VIEW
from firstmile.names import CONTEXT, FAMILIES
from pipelines.backfill_lake import grouped
from pipelines.clean import CleanEvents, clean
from pipelines.history import SCHEMA, activity_history
from pipelines.mapping import EventMapping
from pipelines.rules import REASONS, Rules
from pipelines.statements import context_statements
from pipelines.view_history import ReplacedFile, latest_history, write_file


@dataclass(frozen=True)
class Shard:
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
            for name, part in by_presentation(content):
                write_file(self.about / _file(name, i), pa.Table.from_pandas(part, preserve_index=False))
        return sum(file.n_rows for file in files.values())


def _file(presentation: str, i: int) -> str:
    return f"oulad-{presentation}-{i}.parquet"


def _kept(events: pa.Table, rules: Rules) -> tuple[pa.Table, dict[str, int]]:
    """The events the rules keep, and how many they leave out by reason: here, while properties are still there."""
    reason = rules.left_out(events.select(["user_id"]).to_pandas())
    some = np.flatnonzero(says_any(events["properties"], rules.watched))
    if len(some):  # most events say nothing that is looked at, and turning their properties into Python takes seconds
        reason[some] = rules.left_out(events.select(["user_id", "properties"]).take(some).to_pandas())
    dropped = {f"n_dropped_{name}": int((reason == i).sum()) for i, name in enumerate(REASONS)}
    return events.filter(pa.array(reason < 0)) if any(dropped.values()) else events, dropped


def says_any(properties: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which property maps have one of the names, shape (n,)."""
    asked = pa.array(list(names), pa.string())
    maps = properties.combine_chunks()
    # Every map's pairs lie one behind the other: how many of the asked names stand before each edge.
    n_found = np.concatenate(([0], np.cumsum(pc.is_in(maps.keys, asked).to_numpy(zero_copy_only=False))))
    edges = maps.offsets.to_numpy() - maps.offsets[0].as_py()
    return np.asarray(np.diff(n_found[edges]) > 0)


def _about_content(events: CleanEvents, segment_of: NDArray[np.object_]) -> pd.DataFrame:
    """What `content_stats` reads of the events that name a content item."""
    columns = ["user_id", "message_id", "content_id", "name", "weight", "received_us"]
    families = np.array([*FAMILIES, None], object)  # the last is that of NOT_COUNTED, -1
    named = events.frame[columns].assign(family=families[events.family], segment=segment_of)
    return named[named["content_id"].notna()]


def _write_contexts(history: Path, observed: pa.Table, i: int) -> None:
    """One file per presentation of what the clients of shard i said."""
    for name, part in by_presentation(observed.to_pandas()):
        write_file(history / "user_context" / _file(name, i), latest_history(CONTEXT_VIEW, context_statements(part)))


def by_presentation(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each presentation's users, by name."""
    for name, part in frame.groupby(_presentation(frame["user_id"]), sort=True):
        yield str(name), part


def _presentation(user_ids: pd.Series) -> pd.Series:
    """Of each user, `<presentation>-<student>`."""
    code, users = pd.factorize(user_ids)
    names: pd.Series = pd.Series(users).str.rpartition("-")[0].iloc[code].set_axis(user_ids.index)
    return names

"""The event lake: Parquet files of enriched events, and a manifest that says which of them count.

A file belongs to the lake when a manifest entry names it. Entries are written after their file, in one step, and say
how far each source partition is covered; a file without an entry is what a killed archive left behind.

    lake/events/<offsets>.parquet     lake/manifest/<offsets>.json
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firstmile.errors import DataError
from pipelines.offsets import to_json


@dataclass(frozen=True)
class Entry:
    """One commit of the archive.

    covered
        By "enriched partition|topic id|topic|partition": greatest source offset archived.
    read_to
        By "topic id|partition" of the enriched events: offset of the first record this entry did not read.
    """

    file: str
    n_rows: int
    covered: dict[str, int]
    max_received_us: int
    read_to: dict[str, int] = field(default_factory=dict)


Covered = dict[str, int]
STEPS = ("file", "entry")
"""Names of the effects of a commit, for tests that stop between two of them."""


class Lake:
    """Reads and commits to a lake folder.

    after
        Called with the name of each effect of a commit when it has happened.
    """

    def __init__(self, folder: Path, *, after: Callable[[str], None] = lambda _: None) -> None:
        self.events, self.manifest = folder / "events", folder / "manifest"
        self._after = after

    def entries(self) -> list[Entry]:
        """All commits, oldest first. Raises DataError when a committed file is gone."""
        paths = sorted(self.manifest.glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name))
        entries = [Entry(**orjson.loads(path.read_bytes())) for path in paths]
        for entry in entries:
            if entry.file and not (self.events / entry.file).exists():
                raise DataError(f"{self.manifest} names {entry.file}, which is not in {self.events}; restore the file")
        return entries

    def covered(self) -> Covered:
        """Greatest source offset archived, by source."""
        out: Covered = {}
        for entry in self.entries():
            for source, offset in entry.covered.items():
                out[source] = max(offset, out.get(source, -1))
        return out

    def partitions(self, topic_ids: Mapping[str, str]) -> set[tuple[str, int]]:
        """Source partitions that events were archived of, of the topics with these ids."""
        sources = [source.split("|") for source in self.covered()]
        return {(topic, int(number)) for _, topic_id, topic, number in sources if topic_ids.get(topic) == topic_id}

    def read_to(self) -> dict[str, int]:
        """Offset of the first enriched record that was not read yet, by `read_key`."""
        out: dict[str, int] = {}
        for entry in self.entries():
            for key, offset in entry.read_to.items():
                out[key] = max(offset, out.get(key, 0))
        return out

    def commit(self, table: pa.Table, end: Mapping[tuple[str, int], int], *, topic_id: str) -> Entry:
        """Write a file, then the entry that makes it count; end offsets that have an entry were committed before.

        Rows that are covered already are left out: the stream sends a batch again after a crash.

        topic_id
            Of the topic that `end` speaks of: one made anew starts again at the same offsets.
        """
        name = hashlib.sha256(f"{topic_id} {to_json(end)}".encode()).hexdigest()[:16]
        done = self.manifest / f"{name}.json"
        if done.exists():
            return Entry(**orjson.loads(done.read_bytes()))
        fresh = without_covered(table, self.covered())
        self.events.mkdir(parents=True, exist_ok=True)
        self.manifest.mkdir(parents=True, exist_ok=True)
        if fresh.num_rows:
            unfinished = self.events / f"{name}.part"
            pq.write_table(fresh, unfinished, compression="zstd")
            _replace(unfinished, self.events / f"{name}.parquet")
        self._after("file")
        entry = Entry(
            file=f"{name}.parquet" if fresh.num_rows else "",
            n_rows=fresh.num_rows,
            covered=_greatest(fresh),
            max_received_us=pc.max(fresh["received_us"]).as_py() or 0,
            read_to={read_key(topic_id, partition): offset for (_, partition), offset in end.items()},
        )
        unfinished = self.manifest / f"{name}.part"
        unfinished.write_bytes(orjson.dumps(asdict(entry), option=orjson.OPT_INDENT_2))
        _replace(unfinished, done)
        self._after("entry")
        return entry

    def read(self) -> pa.Table:
        """Every committed event once, in the order it was received. Raises DataError for an empty lake."""
        files = [self.events / entry.file for entry in self.entries() if entry.file]
        if not files:
            raise DataError(f"{self.manifest} names no file; has `firstmile archive` run?")
        # Older files lack columns that came later: they are null there.
        table = pa.concat_tables((pq.read_table(path) for path in files), promote_options="default")
        keys = [("received_us", "ascending"), ("source_topic", "ascending"), ("source_offset", "ascending")]
        return table.sort_by(keys)


def read_key(topic_id: str, partition: int) -> str:
    """Key of a partition of the enriched events in `read_to`; a topic made anew has other keys."""
    return f"{topic_id}|{partition}"


def without_covered(table: pa.Table, covered: Covered) -> pa.Table:
    """The rows past what is covered, each source position once, in the order of the table."""
    seen = dict(covered)
    keep = []
    offsets = table["source_offset"].to_pylist()
    for source, offset in zip(_sources(table), offsets, strict=True):
        is_new = offset > seen.get(source, -1)
        keep.append(is_new)
        if is_new:
            seen[source] = offset
    return table.filter(pa.array(keep, pa.bool_()))


def _greatest(table: pa.Table) -> Covered:
    out: Covered = {}
    for source, offset in zip(_sources(table), table["source_offset"].to_pylist(), strict=True):
        out[source] = max(offset, out.get(source, -1))
    return out


def _sources(table: pa.Table) -> list[str]:
    columns = ("enriched_partition", "source_topic_id", "source_topic", "source_partition")
    return ["|".join(map(str, values)) for values in zip(*(table[c].to_pylist() for c in columns), strict=True)]


def _replace(unfinished: Path, final: Path) -> None:
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(final)

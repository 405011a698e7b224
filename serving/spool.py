"""A log's spool: on disk until Kafka has it, whoever wrote it. Decisions have one folder, outcomes another.

    decisions/lock                 held while folders change hands
    decisions/<worker>/lock        held by the worker as long as it lives
    decisions/<worker>/<n>.jsonl   a segment: a record a line, oldest first

A line is whole or does not count: a kill leaves at most a last line without its end. Folders whose lock is free are of
workers that were killed; the next one to start takes their segments over.
"""

import fcntl
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import IO, Any, Final

import orjson

from firstmile.durable import to_disk
from firstmile.wire import Record

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 1_000_000
"""What is sent again, at most, because a kill came before its segment was dropped; and what is dropped at once when
the spool is full."""
LINE: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
TIMES: Final = ("decided_at", "event_time", "received_at")
"""Fields of the records that are moments: a line of JSON has them as text."""
N_SEGMENTS: Final = 8
"""A smaller spool has smaller segments, so that a full one loses an eighth of itself at a time."""


@dataclass(frozen=True)
class Segment:
    """A file of records; `n_bytes` of them."""

    path: Path
    n_records: int
    n_bytes: int


class Spool:
    """Segments of one worker, oldest first, in bounded size. Used from one thread; nothing is touched before `open`.

    max_bytes
        Of all segments; more: the oldest are dropped.
    """

    def __init__(self, folder: Path, worker: str, *, max_bytes: int) -> None:
        self.folder = folder / worker
        self._max_bytes = max_bytes
        self._segment_bytes = max(min(SEGMENT_BYTES, max_bytes // N_SEGMENTS), 1)
        self._closed: deque[Segment] = deque()
        self._taken_bytes = 0
        self._file: FileIO | None = None
        self._lock: IO[bytes] | None = None
        self._n_records = self._n_bytes = self._number = 0

    @property
    def is_empty(self) -> bool:
        """Whether no segment waits to be taken."""
        return not self._closed and not self._n_records

    @property
    def n_records(self) -> int:
        """Records in the segments that wait."""
        return self._n_records + sum(segment.n_records for segment in self._closed)

    def open(self) -> int:
        """Make this worker's folder and take over those of killed ones; how many records that made too much.

        Raises OSError when the folder cannot be made.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _held(self.folder.parent / "lock"):
            self.folder.mkdir(exist_ok=True)
            self._lock = (self.folder / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            for other in sorted(p for p in self.folder.parent.iterdir() if p.is_dir() and p != self.folder):
                self._take_over(other)
        return self._drop_surplus()

    def append(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Put records on disk, whatever happens to the machine then; how many older ones had to go for them.

        Raises OSError when the disk does not take them.
        """
        lines = memoryview(b"".join(orjson.dumps(record, option=LINE) for record in records))
        if self._file is None:
            self._file = FileIO(self._path(), "w")
            to_disk(self.folder)
        end = self._file.tell()
        try:
            left = lines
            while left:  # a full disk takes less than it was given before it refuses
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)  # half a line would make the next one unreadable
            self._file.seek(end)
            raise
        self._n_records += len(records)
        self._n_bytes += len(lines)
        if self._n_bytes >= self._segment_bytes:
            self._close_segment()
        return self._drop_surplus()

    def take(self) -> Segment | None:
        """The oldest segment, no longer among those that may be dropped; `drop` it when all of it was delivered."""
        if not self._closed and self._n_records:
            self._close_segment()
        if not self._closed:
            return None
        segment = self._closed.popleft()
        self._taken_bytes += segment.n_bytes
        return segment

    def drop(self, segment: Segment) -> None:
        """Forget a segment that was taken."""
        self._taken_bytes -= segment.n_bytes
        segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the folder up; what it still holds is for the next worker to take over."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is None:
            return
        with _held(self.folder.parent / "lock"):
            if not any(self.folder.glob("*.jsonl")):
                shutil.rmtree(self.folder, ignore_errors=True)
            self._lock.close()
            self._lock = None

    def _path(self) -> Path:
        self._number += 1
        return self.folder / f"{self._number:08d}.jsonl"

    def _close_segment(self) -> None:
        assert self._file is not None
        self._file.close()
        self._closed.append(Segment(Path(str(self._file.name)), self._n_records, self._n_bytes))
        self._file, self._n_records, self._n_bytes = None, 0, 0

    def _drop_surplus(self) -> int:
        n_dropped = 0
        n_bytes = self._n_bytes + self._taken_bytes + sum(segment.n_bytes for segment in self._closed)
        while self._closed and n_bytes > self._max_bytes:
            oldest = self._closed.popleft()
            oldest.path.unlink(missing_ok=True)
            n_bytes -= oldest.n_bytes
            n_dropped += oldest.n_records
        return n_dropped

    def _take_over(self, other: Path) -> None:
        with (other / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # it lives
            for path in sorted(other.glob("*.jsonl")):
                data = path.read_bytes()
                segment = Segment(path.rename(self._path()), data.count(b"\n"), len(data))
                self._closed.append(segment)
            shutil.rmtree(other, ignore_errors=True)
        log.info("took over the records that %s left: %s wait now", other.name, self.n_records)


def read_segment(segment: Segment) -> list[Record]:
    """The records of a segment; a torn or damaged line is passed over.

    Raises OSError when the file cannot be read.
    """
    *lines, torn = segment.path.read_bytes().split(b"\n")
    found, n_damaged = [], int(bool(torn))
    for line in lines:
        try:
            found.append(_record(line))
        except (ValueError, KeyError, TypeError):
            n_damaged += 1
    if n_damaged:
        log.warning("%s: %s lines are no records, left out", segment.path, n_damaged)
    return found


def _record(line: bytes) -> Record:
    record: Record = orjson.loads(line)
    moments: Record = {name: datetime.fromisoformat(record[name]) for name in TIMES if name in record}
    # Without these two nothing could be sent.
    return {**record, **moments, "request_id": record["request_id"], "user_id": record["user_id"]}


@contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

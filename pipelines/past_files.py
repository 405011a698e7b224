"""Reads files of past events, Parquet, JSON Lines or CSV, row by row; a row that cannot be read is named, not lost."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from firstmile.errors import DataError

KINDS: Final = (".parquet", ".jsonl", ".ndjson", ".csv")

Row = dict[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """A row nobody can read, and why."""

    reason: str


def past_rows(path: Path) -> Iterator[tuple[int, Row | Unreadable]]:
    """(line, row) of every row; lines count from 1, in CSV with the heading.

    Raises DataError for a file that is missing or of another kind.
    """
    if path.suffix not in KINDS or not path.is_file():
        raise DataError(f"{path} is not a file of past events; files ending in {', '.join(KINDS)} are read")
    if path.suffix == ".parquet":
        return _parquet(path)
    return _csv(path) if path.suffix == ".csv" else _json_lines(path)


def n_rows(path: Path) -> int | None:
    """Rows of a file, for a progress bar; None where counting means reading all of it."""
    try:
        return int(pq.read_metadata(path).num_rows) if path.suffix == ".parquet" else None
    except (pa.ArrowInvalid, OSError):
        return None


def _parquet(path: Path) -> Iterator[tuple[int, Row | Unreadable]]:
    line = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=8_192):
            for row in batch.to_pylist():
                line += 1
                yield line, {name: _plain(value) for name, value in row.items()}
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet after row {line}: {error}") from error


def _json_lines(path: Path) -> Iterator[tuple[int, Row | Unreadable]]:
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError as error:
                yield line, Unreadable(f"not JSON: {error}")
                continue
            yield line, row if isinstance(row, dict) else Unreadable(f"a {type(row).__name__}, not a JSON object")


def _csv(path: Path) -> Iterator[tuple[int, Row | Unreadable]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        columns: list[str] = []
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, Unreadable(f"not CSV: {error}")
                continue
            if not columns:
                columns = _heading(path, cells)
            elif cells:
                yield reader.line_num, _csv_row(columns, cells)


def _heading(path: Path, cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice or not all(columns):
        raise DataError(f"{path} must name every column once; {', '.join(twice) or 'one'} is named twice or not at all")
    return columns


def _csv_row(columns: list[str], cells: list[str]) -> Row | Unreadable:
    if len(cells) != len(columns):
        return Unreadable(f"{len(cells)} cells, the heading has {len(columns)}")
    if any("\ud800" <= c <= "\udfff" for cell in cells for c in cell):
        return Unreadable("not UTF-8 text")
    return {name: cell for name, cell in zip(columns, cells, strict=True) if cell != ""}


def _plain(value: Any) -> Any:
    """A Parquet value as JSON would hold it; missing and not-a-number are None."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.decode(errors="replace")
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
    return value

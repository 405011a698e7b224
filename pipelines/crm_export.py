"""A CRM export, CSV or Parquet, one row a person: traits on one side, audit attributes on the other, bad rows named.

The column user_id says who, the optional updated_at when the source changed the row (ISO 8601, or a number of seconds,
ms or µs since 1970). Every other column is a trait, unless its name is one of the audit attributes, however it is spelt
(`Age Band`, `age-band`). An empty cell removes the trait.
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from firstmile.clock import to_us
from firstmile.errors import DataError
from firstmile.ids import HINT, IdError, id_text
from firstmile.vocabulary import AUDIT_ATTRIBUTES

USER_ID, UPDATED_AT = "user_id", "updated_at"
FORMATS = (".csv", ".parquet")

Cells = Sequence[Any]

_FROM_SPREADSHEET: Final = re.compile(r"^(\d+)\.0+$", re.ASCII)
"""A whole number that a spreadsheet has made a decimal: `12345.0` is the user 12345."""
_EPOCH_UNITS: Final = ((1, 1e11), (1_000, 1e14), (1_000_000, 1e17))
"""Units per second, and the number below which a time of 1973 to 5138 is in that unit."""
_EARLIEST_US: Final = to_us(datetime(2005, 1, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Person:
    """A good row: texts by name, "" = the cell is empty; `updated_us` is None when the export does not say."""

    line: int
    user_id: str
    traits: dict[str, str]
    audit: dict[str, str]
    updated_us: int | None


@dataclass(frozen=True)
class BadRow:
    """A row nobody can use; `line` counts from 1, in a CSV file with its heading, in Parquet the rows alone."""

    line: int
    reason: str


def read_export(path: Path, *, now_us: int) -> Iterator[Person | BadRow]:
    """Every row of an export, good or bad, in order.

    now_us
        A row that says it was changed after this is bad: it would win over every later change.

    Raises DataError when the file is no export at all.
    """
    rows = _csv_rows(path) if path.suffix == ".csv" else _parquet_rows(path)
    columns: list[str] = []
    for line, cells in rows:
        if not columns and isinstance(cells, str):
            raise DataError(f"{path}, line {line}: the heading is {cells}")
        if not columns:
            columns = _column_names(path, cells)
        elif isinstance(cells, str):
            yield BadRow(line, cells)
        else:
            yield _person(line, columns, cells, now_us=now_us)


def audit_name(column: str) -> str | None:
    """The audit attribute a column is, however it is spelt.

    >>> audit_name("Age Band"), audit_name("plan")
    ('age_band', None)
    """
    plain = re.sub(r"[\W_]+", "_", column.strip().lower()).strip("_")
    return plain if plain in AUDIT_ATTRIBUTES else None


def _column_names(path: Path, cells: Cells) -> list[str]:
    columns = [str(c).strip() for c in cells]
    if USER_ID not in columns:
        raise DataError(f"{path} has no column {USER_ID}; it has {', '.join(columns) or 'none'}")
    keys = [audit_name(c) or c for c in columns]
    twice = sorted({k for k in keys if keys.count(k) > 1})
    if twice or "" in keys:
        raise DataError(f"{path} must name every column once; {', '.join(twice) or 'one'} is named twice or not at all")
    return keys


def _person(line: int, columns: list[str], cells: Cells, *, now_us: int) -> Person | BadRow:
    if len(cells) != len(columns):
        return BadRow(line, f"{len(cells)} cells, the heading has {len(columns)}")
    try:
        texts = {name: _text(name, cell) for name, cell in zip(columns, cells, strict=True)}
        updated_us = _instant_us(texts.pop(UPDATED_AT, None), now_us=now_us)
    except ValueError as error:
        return BadRow(line, str(error))
    try:
        user_id = id_text(_FROM_SPREADSHEET.sub(r"\1", texts.pop(USER_ID)))
    except IdError as error:
        return BadRow(line, f"{USER_ID}: {error}; {HINT}")
    if user_id is None:
        return BadRow(line, f"{USER_ID} is empty")
    audit = {name: text for name in AUDIT_ATTRIBUTES if (text := texts.pop(name, ""))}
    return Person(line, user_id, texts, audit, updated_us)


def _text(column: str, cell: Any) -> str:
    """A cell as text, empty when missing. Raises ValueError when it is neither text, number, truth value nor time."""
    match cell:
        case None:
            return ""
        case str():
            if any("\ud800" <= c <= "\udfff" for c in cell):
                raise ValueError(f"{column} is not UTF-8 text")
            return cell.strip()
        case bool():
            return "true" if cell else "false"
        case float() if math.isnan(cell):
            return ""
        case float() if cell.is_integer():
            return str(int(cell))  # pandas turns a column of whole numbers with a gap into floats
        case int() | float():
            return str(cell)
        case datetime() | date():
            return cell.isoformat()
    raise ValueError(f"{column} holds a {type(cell).__name__}; text, numbers, truth values and times are allowed")


def _instant_us(text: str | None, *, now_us: int) -> int | None:
    if not text:
        return None
    us = _epoch_us(text)
    if us is None:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"{UPDATED_AT} {text!r} is neither an ISO 8601 time like 2026-11-23T10:00:00+00:00 nor a number of "
                "seconds, ms or µs since 1970"
            ) from None
        us = to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    if us < _EARLIEST_US:
        raise ValueError(f"{UPDATED_AT} {text!r} lies before 2005")
    if us > now_us:
        raise ValueError(f"{UPDATED_AT} {text!r} lies in the future")
    return us


def _epoch_us(text: str) -> int | None:
    """A number of seconds, ms or µs since 1970, told apart by its size; None for anything else, as 20261123 is.

    >>> [_epoch_us(text) for text in ("1795650000", "1795650000000.0", "1795650000000000", "20261123", "2026-11-23")]
    [1795650000000000, 1795650000000000, 1795650000000000, None, None]
    """
    if not re.fullmatch(r"\d{9,16}(\.\d+)?", text, re.ASCII):
        return None
    number = float(text)
    per_s = next(per_s for per_s, below in _EPOCH_UNITS if number < below)
    return round(number * (1_000_000 // per_s))


def _csv_rows(path: Path) -> Iterator[tuple[int, Cells]]:
    """(line a row ends on, cells) or (line, reason); the first is the heading."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, f"not CSV: {error}"
                continue
            if cells:  # an empty line is no row
                yield reader.line_num, cells


def _parquet_rows(path: Path) -> Iterator[tuple[int, Cells]]:
    try:
        file = pq.ParquetFile(path)
        yield 0, file.schema_arrow.names
        line = 0
        for batch in file.iter_batches():
            for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                line += 1
                yield line, cells
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error

"""The files of the OULAD dataset as Arrow columns of settled types; knows the traps of both forms of the release.

A missing value is an empty field here and `?` in the original; a truth value is True/False or 1/0; a whole number
may read `19` or `19.0`; a file may be `.parquet`, `.csv.gz` or `.csv`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from firstmile.errors import DataError

Kind = Literal["text", "optional_text", "int", "optional_int", "float", "optional_float", "bool"]

SUFFIXES = (".parquet", ".csv.gz", ".csv")
TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def read_columns(data: Path, name: str, kinds: Mapping[str, Kind]) -> pa.Table:
    """The named columns of file `name` (without its suffix) in folder `data`, cast to their kinds.

    Raises DataError naming file and column when the file or a column is missing, cannot be read, or holds a value
    that is not of its kind.
    """
    path = find_file(data, name)
    raw = _read_raw(path, list(kinds))
    return pa.table({column: _cast(raw[column], path, column, kind) for column, kind in kinds.items()})


def find_file(data: Path, name: str) -> Path:
    """The file `name` under any of its suffixes. Raises DataError when there is none."""
    for suffix in SUFFIXES:
        path = data / f"{name}{suffix}"
        if path.is_file():
            return path
    allowed = ", ".join(name + suffix for suffix in SUFFIXES)
    raise DataError(f"{data} has no file {name}; one of {allowed} is needed (see data/oulad/README.md)")


def _read_raw(path: Path, columns: list[str]) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            table = pq.ParquetFile(path).read()
        else:
            # Everything as text: a guessed type would fail on the first `?` or `19.0` far down the file.
            names = pv.open_csv(path).schema.names
            table = pv.read_csv(
                path,
                convert_options=pv.ConvertOptions(
                    column_types={n: pa.string() for n in names}, strings_can_be_null=True, null_values=["", "?"]
                ),
            )
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    missing = [c for c in columns if c not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return table.select(columns)


def _cast(column: pa.ChunkedArray, path: Path, name: str, kind: Kind) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.is_in(column, pa.array(["", "?"])), pa.scalar(None, pa.string()), column)
    optional = kind.startswith("optional_")
    if not optional and column.null_count:
        row = pc.index(pc.is_null(column), True).as_py() + 1
        raise DataError(f"{path}, column {name}, row {row}: the value is missing; every row needs one")
    base = kind.removeprefix("optional_")
    if base == "text":
        return column.cast(pa.string())
    return _truth(column, path, name) if base == "bool" else _number(column, path, name, whole=base == "int")


def _number(column: pa.ChunkedArray, path: Path, name: str, *, whole: bool) -> pa.ChunkedArray:
    wanted = pa.int64() if whole else pa.float64()
    if column.type == wanted or (whole and pa.types.is_integer(column.type)):
        return column.cast(wanted)
    try:
        numbers = column.cast(pa.float64())
        if pa.types.is_floating(column.type):  # pandas writes a missing number as NaN
            numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
        return numbers.cast(wanted)  # safe: a fraction is refused
    except pa.ArrowInvalid as error:
        row, value = _first_bad(column, wanted)
        what = "whole number" if whole else "number"
        raise DataError(f"{path}, column {name}, row {row}: {value!r} is not a {what}") from error


def _first_bad(column: pa.ChunkedArray, wanted: pa.DataType) -> tuple[int, object]:
    for row, value in enumerate(column.to_pylist(), start=1):
        try:
            number = 0.0 if value is None else float(value)
        except (TypeError, ValueError):
            return row, value
        if wanted == pa.int64() and not number.is_integer():
            return row, value
    return 0, "?"  # pragma: no cover - Arrow refuses nothing that float() takes


def _truth(column: pa.ChunkedArray, path: Path, name: str) -> pa.ChunkedArray:
    if pa.types.is_boolean(column.type):
        return column
    text = pc.utf8_lower(column.cast(pa.string()))
    at = pc.index_in(text, pa.array(list(TRUTH)))
    if at.null_count:
        row = pc.index(pc.is_null(at), True).as_py()
        raise DataError(f"{path}, column {name}, row {row + 1}: {column[row].as_py()!r} is not True, False, 1 or 0")
    return pc.take(pa.array(list(TRUTH.values())), at)

"""`firstmile import events`: a product's past, however old, into the lake and the history; no Kafka needed.

files ─► calls ─► cleaned events ─► lake (marked as imported) ─► history and content statistics, as `backfill lake`
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from firstmile.cli import console, emit
from firstmile.clock import SystemClock, iso
from firstmile.errors import DataError
from firstmile.names import IMPORTED
from firstmile.product import require_product
from firstmile.settings import Settings, load_settings
from pipelines.backfill_content import backfill_content
from pipelines.backfill_lake import backfill_lake
from pipelines.lake import Lake
from pipelines.mapping import EventMapping, read_mapping
from pipelines.past_columns import Columns, check_columns, read_columns_file
from pipelines.past_events import PastEvents, digest, lake_table
from pipelines.past_files import n_rows, past_rows
from pipelines.rules import read_rules
from pipelines.unknown_names import MAX_NAMES

N_SHOWN: Final = 20
STEP_ROWS: Final = 1_000

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def _import() -> None:
    """Bring in what happened before Firstmile was there."""


@app.command("events")
def run(
    files: Annotated[list[Path], typer.Argument(help=".parquet, .jsonl or .csv; tracking calls, or see --columns")],
    columns: Annotated[
        Path | None, typer.Option(help="YAML that says which columns hold user, event, time, …; docs/cleaning.md")
    ] = None,
    history: Annotated[bool, typer.Option(help="then fold the history and count content, as `backfill lake`")] = True,
) -> None:
    """Past events to the lake and the history; rows nobody can use are counted and listed.

    The same files again change nothing. Live events of the same users go on from there.
    """
    emit(import_events(load_settings(), files, columns=columns, history=history))


def import_events(
    settings: Settings, files: list[Path], *, columns: Path | None = None, history: bool = True
) -> dict[str, Any]:
    """Import the files as one; returns counts, and the refused rows (the first 20; all of them are in a file).

    Raises FileError for a wrong columns, names or rules file, DataError when no row could be taken.
    """
    require_product(settings.product)
    mapping, rules = read_mapping(settings.product_file("events")), read_rules(settings.product_file("cleaning"))
    for path in files:
        past_rows(path)  # a file that is none is named before anything is read
    lake, source = Lake(settings.lake), f"{IMPORTED}{digest(files)}"
    if any(key.split("|")[1] == source for key in lake.covered()):
        console.print("import: these files are in the lake already", highlight=False)
        found: dict[str, Any] = {"was_imported_before": True}
    else:
        past = PastEvents(rules, SystemClock().now_us())
        n_read = _read(files, past, columns)
        found = {"n_rows": n_read, **_written(settings, lake, past, mapping, source)}
    if history:
        found |= {"history": backfill_lake(settings), "content": backfill_content(settings, "lake")}
    return found


def _written(settings: Settings, lake: Lake, past: PastEvents, mapping: EventMapping, source: str) -> dict[str, Any]:
    """What was read, into the lake. Raises DataError when there is nothing."""
    refused = _write_refused(settings, past)
    if not past.records:
        first = f"; line {past.refused[0].line}: {past.refused[0].reason}" if past.refused else ""
        raise DataError(f"no event was taken, {len(past.refused)} rows were refused{first}")
    console.print(f"import: {len(past.records):,} records are cleaned and written", highlight=False)
    table, events = lake_table(past, mapping, topic_id=source)
    entry = lake.commit(table, {("import", 0): table.num_rows}, topic_id=source)
    times = table["event_us"].to_numpy()
    return {
        "n_records": entry.n_rows,
        "n_users": len(set(table["user_id"].to_pylist())),
        "from": iso(int(times.min())),
        "to": iso(int(times.max())),
        **refused,
        **events.counts,
        "unknown_names": dict(list(events.unknown_names().items())[:MAX_NAMES]),
    }


def _read(files: list[Path], past: PastEvents, columns: Path | None) -> int:
    """Every row of every file; how many there were."""
    document, own = read_columns_file(columns) if columns else (None, None)
    n_read = 0
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=console, transient=not console.is_terminal) as progress:
        for path in files:
            bar = progress.add_task(path.name, total=n_rows(path))
            is_first = True
            for line, row in past_rows(path):
                if is_first and document is not None and isinstance(own, Columns) and isinstance(row, dict):
                    check_columns(document, own, _known(path, row))
                    is_first = False
                past.take(line, row, own)
                n_read += 1
                if n_read % STEP_ROWS == 0:
                    progress.advance(bar, STEP_ROWS)
    return n_read


def _known(path: Path, row: dict[str, Any]) -> list[str]:
    """Columns of a table; of CSV the heading's, since a row leaves out its empty cells."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return [name.strip() for name in next(csv.reader(file))]
    return list(row)


def _write_refused(settings: Settings, past: PastEvents) -> dict[str, Any]:
    found: dict[str, Any] = {"n_refused": dict(Counter(each.code for each in past.refused))}
    if past.refused:
        path = settings.logs / "import-refused.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(orjson.dumps(each.__dict__) + b"\n" for each in past.refused))
        found |= {"refused": [each.__dict__ for each in past.refused[:N_SHOWN]], "refused_file": str(path)}
    return found

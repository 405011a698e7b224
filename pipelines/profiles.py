"""`firstmile profiles import`: who the users are, by a CRM export.

traits ───────────► crm.profiles (Kafka), read by the stream
audit attributes ─► history/user_audit (Parquet), joined offline by monitoring and by nobody else
"""

import hashlib
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.progress import track

from firstmile.broker import producer
from firstmile.cli import console, emit
from firstmile.clock import SystemClock
from firstmile.errors import DataError
from firstmile.names import PROFILES
from firstmile.settings import Settings, load_settings
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from firstmile.wire import Record, RecordWriter, Registry
from pipelines.crm_export import FORMATS, BadRow, Person, read_export
from pipelines.topics import ensure_topics

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "firstmile:crm-export")
N_BAD_SHOWN = 100

AUDIT_HISTORY = pa.schema(
    [
        ("user_id", pa.string()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in AUDIT_ATTRIBUTES),
    ]
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@dataclass
class Import:
    """What an import found: records to produce, audit rows by name of their history file, rows nobody can use."""

    records: list[Record]
    audit: dict[str, pa.Table]
    bad: list[BadRow] = field(default_factory=list)


@app.callback()
def _profiles() -> None:
    """Import who the users are."""


@app.command("import")
def run(
    path: Annotated[Path, typer.Argument(help="A .csv or .parquet export with a user_id column.")],
    is_whole: Annotated[
        bool, typer.Option("--whole", help="the export has all traits: those it has no column for are removed")
    ] = False,
) -> None:
    """Traits to crm.profiles, audit attributes to the offline history of user_audit; bad rows are listed.

    Of each trait the latest by updated_at counts, of equal times the later import. An empty cell removes a trait.
    """
    settings, now_us = load_settings(), SystemClock().now_us()
    emit(import_profiles(settings, read_crm(path, now_us=now_us, is_whole=is_whole), source=path))


def import_profiles(settings: Settings, found: Import, *, source: Path) -> dict[str, Any]:
    """Produce the records, then write the audit history; the same source again replaces what it gave before.

    Returns counts and the bad rows (the first 100; all of them are in `bad_rows_file`).
    Raises DependencyError when Kafka or the registry is away, DataError when no row was good.
    """
    if not found.records:
        first = f"; line {found.bad[0].line}: {found.bad[0].reason}" if found.bad else ""
        raise DataError(f"{source} has no row to import, {len(found.bad)} bad ones{first}")
    ensure_topics(settings)
    writer = RecordWriter(Registry(settings.registry_url, timeout_s=settings.registry.timeout_s), PROFILES)
    out = producer(settings)
    for record in track(found.records, description="profiles", console=console):
        out.send(PROFILES, key=record["user_id"], value=writer.encode(record))
    out.flush()
    for name, table in found.audit.items():
        _replace(settings.history / "user_audit" / f"{name}.parquet", table)
    return {
        "profiles": out.n_sent[PROFILES],
        "audit_rows": sum(table.num_rows for table in found.audit.values()),
        "n_bad": len(found.bad),
        "bad": [bad.__dict__ for bad in found.bad[:N_BAD_SHOWN]],
        "bad_rows_file": _write_bad(settings.logs / f"profiles-{source.name}.bad.jsonl", found.bad),
    }


def read_crm(path: Path, *, now_us: int, is_whole: bool = False) -> Import:
    """The people of a CRM export; a row that does not say when it was changed was changed when the file was.

    Of several rows of a user with one time the last counts.

    is_whole
        Whether traits without a column are to be removed.

    Raises DataError when there is no such file or it is no export.
    """
    if path.suffix not in FORMATS or not path.is_file():
        raise DataError(f"{path} is no file ending in {' or '.join(FORMATS)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changed_us = min(path.stat().st_mtime_ns // 1_000, now_us)
    people: list[Person] = []
    bad: list[BadRow] = []
    for row in read_export(path, now_us=now_us):
        (people if isinstance(row, Person) else bad).append(row)  # type: ignore[arg-type]
    times = [changed_us if p.updated_us is None else p.updated_us for p in people]
    records = [
        {
            "message_id": str(uuid.uuid5(NAMESPACE, f"{digest}/{person.line}")),
            "user_id": person.user_id,
            "updated_at": updated_us,
            "received_at": now_us,
            "traits": person.traits,
            "is_whole": is_whole,
        }
        for person, updated_us in {(p.user_id, t): (p, t) for p, t in zip(people, times, strict=True)}.values()
    ]
    audited = [
        {"user_id": p.user_id, "event_timestamp": t, **p.audit} for p, t in zip(people, times, strict=True) if p.audit
    ]
    history = pa.Table.from_pylist(audited, AUDIT_HISTORY)
    return Import(records, {f"crm-{path.stem}-{digest[:12]}": history} if audited else {}, bad)


def _replace(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)


def _write_bad(path: Path, bad: list[BadRow]) -> str | None:
    if not bad:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(row.__dict__) + b"\n" for row in bad))
    return str(path)

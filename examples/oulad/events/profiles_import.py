"""`firstmile profiles oulad`: who the learners are, from the folder of the tables."""

from pathlib import Path
from typing import Annotated

import pyarrow.compute as pc
import typer

from examples.oulad.events.profiles import oulad_profiles, profile_records
from examples.oulad.tables import tables as oulad
from firstmile.cli import emit
from firstmile.settings import load_settings
from pipelines.profiles import AUDIT_HISTORY, Import, import_profiles


def run(
    data: Annotated[Path, typer.Argument(help="folder of the tables")],
    presentations: Annotated[str, typer.Option(help="comma-separated, like AAA_2014J; empty: all")] = "",
) -> None:
    """Learners' traits to crm.profiles, audit attributes to the offline history of user_audit."""
    names = [p.strip() for p in presentations.split(",") if p.strip()] or None
    emit(import_profiles(load_settings(), read_oulad(data, names), source=data))


def read_oulad(folder: Path, presentations: list[str] | None = None) -> Import:
    """The learners of a folder of the tables. Raises DataError when a file is missing or malformed."""
    tables = oulad.read(folder, presentations)
    profiles = oulad_profiles(tables)
    info = tables.info.join(profiles.select(["user_id", "received_us"]), "user_id")
    audit = {}
    for presentation in tables.presentations:
        rows = info.filter(pc.equal(info["presentation"], presentation)).sort_by("user_id")
        times = rows["received_us"].cast(AUDIT_HISTORY.field("event_timestamp").type)
        audit[f"oulad-{presentation}"] = rows.append_column("event_timestamp", times).select(AUDIT_HISTORY.names)
    return Import(list(profile_records(profiles)), audit)

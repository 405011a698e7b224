"""More rows of the shipped data: every learner several times, under ids of their own."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.lab import PRODUCT
from firstmile.setting_sections import ROOT

DATA = ROOT / "data" / "oulad"
IDS_PER_COPY = 10_000_000
BY_LEARNER = ("studentInfo", "studentRegistration", "studentAssessment")


def copied(folder: Path, n_copies: int) -> Path:
    """The shipped tables with every learner n_copies times, in a folder; one copy: where they are shipped."""
    if n_copies == 1:
        return DATA
    for file in DATA.iterdir():
        name = file.name.partition(".")[0]
        if name in BY_LEARNER:
            frame = pd.read_csv(file, dtype=str, keep_default_na=False)
            parts = [
                frame.assign(id_student=frame["id_student"].astype(int) + k * IDS_PER_COPY) for k in range(n_copies)
            ]
            pd.concat(parts).to_csv(folder / file.name, index=False)
        elif name == "studentVle":
            table = pq.read_table(file)
            at = table.schema.get_field_index("id_student")
            kind = table.schema.field(at).type
            copies = []
            for k in range(n_copies):
                ids = pa.array(table["id_student"].to_numpy() + k * IDS_PER_COPY).cast(kind)
                copies.append(table.set_column(at, table.schema.field(at), ids))
            pq.write_table(pa.concat_tables(copies), folder / file.name)
        elif file.suffix != ".md":
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def product_of(data: Path, folder: Path) -> Path:
    """The demo's product over other tables, in a folder; over the shipped ones where it is shipped."""
    if data == DATA:
        return PRODUCT
    folder.mkdir(parents=True)
    for file in PRODUCT.glob("*.yaml"):
        (folder / file.name).write_text(file.read_text().replace("../../data/oulad", str(data)))
    return folder

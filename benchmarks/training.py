"""From offline history to registered challengers: seconds of `firstmile train`, all models, and how they grow.

The history is of all learners of the shipped data, or of several copies of each under other names (`--copies`): only
the number of rows grows. Every repeat registers into the same MLflow, as retraining does.

    .venv/bin/python -m benchmarks.training --repeats 3 [--copies 1,3]
"""

import argparse
import json
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import lab
from benchmarks.machine import facts
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings
from training.child import environment, verb

DATA = ROOT / "data" / "oulad"
IDS_PER_COPY = 10_000_000
BY_LEARNER = ("studentInfo", "studentRegistration", "studentAssessment")


def copied(folder: Path, n_copies: int) -> Path:
    """The shipped tables with every learner n_copies times, under ids of their own."""
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


def told(settings: Settings, *words: str) -> tuple[dict[str, Any], float, float]:
    """(what a verb says, its seconds, its greatest memory in MiB with all its children)."""
    began, peak = time.perf_counter(), 0
    with (
        tempfile.TemporaryFile() as out,
        subprocess.Popen(verb(words), env=environment(settings), stdout=out, cwd=ROOT) as child,
    ):
        watched = psutil.Process(child.pid)
        while child.poll() is None:
            with suppress(psutil.Error):  # it may just have ended
                peak = max(peak, sum(p.memory_info().rss for p in (watched, *watched.children(recursive=True))))
            time.sleep(0.2)
        seconds = time.perf_counter() - began
        out.seek(0)
        said = out.read()
    if child.returncode:
        raise RuntimeError(f"firstmile {' '.join(words)} ended with {child.returncode}; its words are above")
    return json.loads(said), seconds, peak / 2**20


def run(n_copies: int, repeats: int) -> list[dict[str, object]]:
    """One backfill, then the repeats of train."""
    found = []
    with lab.own_stack(parts=("redis", "mlflow")) as settings, tempfile.TemporaryDirectory() as folder:
        data = copied(Path(folder), n_copies) if n_copies > 1 else DATA
        backfilled, seconds, peak = told(settings, "backfill", "oulad", "--data", str(data))
        found.append(
            {
                "verb": "backfill",
                "copies": n_copies,
                "seconds": round(seconds, 1),
                "of_work_s": backfilled["seconds"],
                "peak_mib": round(peak),
                "n_events": backfilled["n_events"],
            }
        )
        for _ in range(repeats):
            said, seconds, peak = told(settings, "train", "--data", str(data))
            models = said["models"]
            n_rows = {name: each["set"]["n_rows"] for name, each in models.items()}
            found.append(
                {
                    "verb": "train",
                    "copies": n_copies,
                    "seconds": round(seconds, 1),
                    "peak_mib": round(peak),
                    "n_rows": n_rows,
                    "by_model_s": {name: each["seconds"] for name, each in models.items()},
                }
            )
            print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", default="1")
    parser.add_argument("--repeats", type=int, default=3)
    given, machine = parser.parse_args(), facts()
    runs = [each for n in given.copies.split(",") for each in run(int(n), given.repeats)]
    print(json.dumps({**machine, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

"""From offline history to registered challengers: seconds of `firstmile train`, all models, and how they grow.

The history is of all learners of the shipped data, or of several copies of each under other names (`--copies`): the same
clicks, so that only the number of rows grows. Every repeat registers into the same MLflow, as retraining does.

    .venv/bin/python -m benchmarks.training --repeats 3 [--copies 1,3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import lab
from benchmarks.machine import facts
from firstmile.settings import ROOT, Settings, as_environment

DATA = ROOT / "data" / "oulad"
FIRSTMILE = str(Path(sys.executable).with_name("firstmile"))
BY_LEARNER = ("studentInfo", "studentRegistration", "studentAssessment")


def copied(folder: Path, n_copies: int) -> Path:
    """The shipped tables with every learner n_copies times, under ids of their own."""
    ids_per_copy = 10_000_000
    for file in DATA.iterdir():
        name = file.name.partition(".")[0]
        if name in BY_LEARNER:
            frame = pd.read_csv(file, dtype=str, keep_default_na=False)
            parts = [
                frame.assign(id_student=frame["id_student"].astype(int) + k * ids_per_copy) for k in range(n_copies)
            ]
            pd.concat(parts).to_csv(folder / file.name, index=False)
        elif name == "studentVle":
            table = pq.read_table(file)
            at = table.schema.get_field_index("id_student")
            kind = table.schema.field(at).type
            copies = []
            for k in range(n_copies):
                ids = pa.array(table["id_student"].to_numpy() + k * ids_per_copy).cast(kind)
                copies.append(table.set_column(at, table.schema.field(at), ids))
            pq.write_table(pa.concat_tables(copies), folder / file.name)
        elif file.suffix != ".md":
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def verb(settings: Settings, *words: str) -> tuple[dict[str, object], float, float]:
    """(what a verb says, its seconds, its greatest memory in MiB)."""
    began, peak = time.perf_counter(), 0
    with subprocess.Popen(
        [FIRSTMILE, *words], env=as_environment(settings) | {"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE
    ) as child:
        watched = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                tree = [watched, *watched.children(recursive=True)]
                peak = max(peak, sum(each.memory_info().rss for each in tree))
            except psutil.Error:
                pass  # it has just ended
            if child.stdout is not None and time.perf_counter() - began > 0:
                time.sleep(0.2)
        out = child.stdout.read() if child.stdout else b""
    if child.returncode:
        raise RuntimeError(f"firstmile {' '.join(words)} ended with {child.returncode}; its words are above")
    return json.loads(out), time.perf_counter() - began, peak / 2**20


def run(n_copies: int, repeats: int) -> list[dict[str, object]]:
    """One backfill, then the repeats of train."""
    found = []
    with lab.own_stack(parts=("redis", "mlflow")) as settings, tempfile.TemporaryDirectory() as folder:
        data = copied(Path(folder), n_copies) if n_copies > 1 else DATA
        backfilled, seconds, peak = verb(settings, "backfill", "oulad", "--data", str(data))
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
            said, seconds, peak = verb(settings, "train", "--data", str(data))
            models = said["models"]
            assert isinstance(models, dict)
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

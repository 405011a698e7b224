"""How long does the backfill of all of OULAD take, and does its memory grow with the rows?

Of all learners of the shipped data, or of several copies of each under other names (`--copies`).

    .venv/bin/python -m benchmarks.backfill --repeats 3 [--copies 1,3]
"""

import argparse
import json
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks import lab, verb_run
from benchmarks.machine import facts
from benchmarks.oulad_copies import copied

N_TENTHS = 10


def run(n_copies: int) -> dict[str, object]:
    """One backfill, without content statistics, which are Spark's."""
    with lab.own_stack(parts=("redis",)) as settings, tempfile.TemporaryDirectory() as folder:
        data = copied(Path(folder), n_copies)
        told = verb_run.told(settings, "backfill", "oulad", "--no-content", "--data", str(data))
    edges = np.linspace(0, len(told.memory_mib), N_TENTHS + 1).astype(int).tolist()
    return {
        "copies": n_copies,
        "seconds": round(told.seconds, 1),
        "of_work_s": told.said["seconds"],
        "n_events": told.said["n_events"],
        "n_history_rows": told.said["n_history_rows"],
        "peak_mib": max(told.memory_mib),
        "peak_mib_by_tenth_of_the_time": [max(told.memory_mib[a:b], default=0) for a, b in pairwise(edges)],
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", default="1")
    parser.add_argument("--repeats", type=int, default=3)
    given, machine = parser.parse_args(), facts()
    runs = []
    for n in map(int, given.copies.split(",")):
        for _ in range(given.repeats):
            runs.append(run(n))
            print(json.dumps(runs[-1]), flush=True)
    print(json.dumps({**machine, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

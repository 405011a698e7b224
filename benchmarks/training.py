"""From offline history to registered challengers: seconds of `firstmile train`, all models, and how they grow.

The history is of all learners of the shipped data, or of several copies of each under other names (`--copies`): only
the number of rows grows. Every repeat registers into the same MLflow, as retraining does.

    .venv/bin/python -m benchmarks.training --repeats 3 [--copies 1,3]
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks import lab, verb_run
from benchmarks.machine import facts
from benchmarks.oulad_copies import copied, product_of


def run(n_copies: int, repeats: int) -> list[dict[str, object]]:
    """One backfill, then the repeats of train."""
    found = []
    with lab.own_stack(parts=("redis", "mlflow")) as settings, tempfile.TemporaryDirectory() as folder:
        data = copied(Path(folder), n_copies)
        settings = settings.model_copy(update={"product": product_of(data, Path(folder) / "product")})
        backfilled = verb_run.told(settings, "backfill", "oulad", "--data", str(data))
        found.append(
            {
                "verb": "backfill",
                "copies": n_copies,
                "seconds": round(backfilled.seconds, 1),
                "of_work_s": backfilled.said["seconds"],
                "peak_mib": max(backfilled.memory_mib),
                "n_events": backfilled.said["n_events"],
            }
        )
        for _ in range(repeats):
            trained = verb_run.told(settings, "train")
            models = trained.said["models"]
            n_rows = {name: each["set"]["n_rows"] for name, each in models.items()}
            found.append(
                {
                    "verb": "train",
                    "copies": n_copies,
                    "seconds": round(trained.seconds, 1),
                    "peak_mib": max(trained.memory_mib),
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

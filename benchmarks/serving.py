"""How fast is an answer over HTTP, what is the capacity, and what happens at twice of it and while models change?

.venv/bin/python -m benchmarks.serving --parts steady,swaps --rates 200,500 --seconds 60 --repeats 3
.venv/bin/python -m benchmarks.serving --parts capacity,overload --workers 1 --pin

Kafka, registry, Redis, MLflow, the API and the load generator are all real and all on this machine; latencies are the
client's, from when a request was due. --pin gives the generator the last core, and everything else the others.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from typing import Any

import psutil

from benchmarks.machine import facts
from benchmarks.serving_lab import load, promote, register, served, start_load
from firstmile.local import process
from firstmile.settings import Settings

N_USERS = 1_000
WARM_UP_S = 8.0
STEP_S = 6.0
BAR_MS = 200.0
FIRST_RATE, GROWTH = 50.0, 1.25
SWAP_EVERY_S = 4.0


def steady(settings: Settings, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Fixed rates, in turns."""
    return [
        {"run": run + 1, **load(settings, rate=rate, seconds=args.seconds, n_users=N_USERS, seed=run, core=args.core)}
        for run in range(args.repeats)
        for rate in args.rates
    ]


def capacity(settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """The greatest rate, in steps of a quarter, at which every answer is a whole decision within 200 ms."""
    steps, rate, found = [], FIRST_RATE, 0.0
    while True:
        said = load(settings, rate=rate, seconds=STEP_S, n_users=N_USERS, core=args.core)
        decided = said["rungs"].get("model", 0) / max(said["n_answered"], 1)
        steps.append({"rate": round(rate), "p99_ms": said["latency_ms"].get("p99"), "decided": round(decided, 4)})
        if decided < 0.99 or said["n_over_200_ms"]:
            return {"per_s": round(found), "steps": steps}
        found, rate = rate, rate * GROWTH


def overload(settings: Settings, args: argparse.Namespace, per_s: float) -> list[dict[str, Any]]:
    """Twice the capacity: everybody is answered in time, those past capacity with the default flow."""
    return [
        load(settings, rate=2 * per_s, seconds=args.seconds, n_users=N_USERS, seed=run, core=args.core)
        for run in range(args.repeats)
    ]


def swaps(settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """200 requests per second while activation's champion moves back and forth."""
    versions = ["1", register(settings, "activation", seed=8)]
    under_load = start_load(settings, rate=200, seconds=args.seconds, n_users=N_USERS, core=args.core)
    n_moves = 0
    until = time.monotonic() + args.seconds
    while time.monotonic() < until:
        n_moves += 1
        promote(settings, "activation", versions[n_moves % 2])
        time.sleep(SWAP_EVERY_S)
    out, _ = under_load.communicate()
    return {"n_moves": n_moves, **json.loads(out)}


def memory_mib(settings: Settings) -> list[float]:
    """Resident memory of every worker."""
    found = process.find(settings.home / "run", "serve")
    assert found is not None
    workers = psutil.Process(found.pid).children(recursive=True)
    return [round(w.memory_info().rss / 2**20) for w in workers if "worker" in " ".join(w.cmdline())]


def measured(settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Every part that was asked for."""
    result: dict[str, Any] = {"memory_mib_at_start": memory_mib(settings)}
    load(settings, rate=100, seconds=WARM_UP_S, n_users=N_USERS, core=args.core)
    if "steady" in args.parts:
        result["steady"] = steady(settings, args)
    if "swaps" in args.parts:
        result["swaps"] = swaps(settings, args)
    if {"capacity", "overload"} & set(args.parts):
        result["capacity"] = capacity(settings, args)
    if "overload" in args.parts:
        result["overload"] = overload(settings, args, max(result["capacity"]["per_s"], FIRST_RATE))
    if args.soak_minutes:
        result["soak"] = load(settings, rate=200, seconds=60 * args.soak_minutes, n_users=N_USERS, core=args.core)
    result["memory_mib_at_end"] = memory_mib(settings)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=["steady", "swaps", "overload"])
    parser.add_argument("--rates", type=lambda text: [float(r) for r in text.split(",")], default=[200.0, 500.0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--soak-minutes", type=float, default=0.0)
    parser.add_argument("--pin", action="store_true", help="the generator on the last core alone")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    args.core = cores[-1] if args.pin else None
    if args.pin:
        os.sched_setaffinity(0, set(cores[:-1]))  # everything started from here inherits it, but the generator
    machine = facts()
    with (
        contextlib.redirect_stdout(sys.stderr),  # MLflow says there where each run can be seen
        served(n_users=N_USERS, workers=args.workers, model_poll_s=1.0) as settings,
    ):
        print(f"serving on {settings.serving.port}", file=sys.stderr)
        result = measured(settings, args)
    print(json.dumps({"machine": machine, "workers": args.workers, "pinned": args.pin, **result}, indent=1))


if __name__ == "__main__":
    main()

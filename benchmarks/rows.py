"""What do rows cost without any store: unpacked, their windows composed, events folded in, packed again?

.venv/bin/python -m benchmarks.rows [--repeats 20]

Learners with 60 events each, as the serving benchmarks have them; milliseconds, the median.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.machine import facts
from benchmarks.serving_lab import events
from feature_repo.activity import fold, windows
from feature_repo.applied import pack_applied
from feature_repo.row import empty_rows, pack_rows, unpack_rows
from firstmile.clock import SystemClock

SIZES = ((1, 1), (500, 500), (10_000, 50_000))


def measured(n_users: int, n_events: int, repeats: int) -> dict[str, float]:
    """Each step for so many users, and so many events of theirs."""
    now_us, rng = SystemClock().now_us(), np.random.default_rng(7)
    before, _ = fold(empty_rows(n_users), events(n_users, rng, now_us))
    activity, applied = pack_rows(before), pack_applied(before.applied)
    later = events(n_users, np.random.default_rng(3), now_us)
    batch = later.where(np.sort(rng.choice(len(later.event_ms), n_events, replace=False)))
    rows = unpack_rows(activity, applied, before.version_us)
    after, _ = fold(rows, batch)
    steps: dict[str, Callable[[], Any]] = {
        "unpacked to be read": partial(unpack_rows, activity),
        "windows": partial(windows, rows, np.full(n_users, now_us, np.int64)),
        "unpacked to be written": partial(unpack_rows, activity, applied, before.version_us),
        "folded": partial(fold, rows, batch),
        "packed": lambda: (pack_rows(after), pack_applied(after.applied)),
    }
    return {name: round(median_ms(step, repeats), 3) for name, step in steps.items()}


def median_ms(step: Callable[[], Any], repeats: int) -> float:
    """Of several runs, after two that warm up."""
    took = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        step()
        took.append((time.perf_counter() - began) * 1_000)
    return float(np.median(took[2:]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    given, machine = parser.parse_args(), facts()
    found = [{"n_users": u, "n_events": e, "ms": measured(u, e, given.repeats)} for u, e in SIZES]
    print(json.dumps({"machine": machine, "sizes": found}, indent=1))


if __name__ == "__main__":
    main()

"""How fast does the stream work off a backlog? Events per second, from its first batch's start to its last's end.

.venv/bin/python -m benchmarks.backlog --events 300000 --users 1000,10000,100000 --repeats 3
"""

import argparse
import json
import time
from typing import Any

from benchmarks import lab
from benchmarks.machine import facts
from firstmile.local.ports import free_ports
from firstmile.settings import Settings


def run(settings: Settings, *, n_events: int, n_users: int, partitions: int, seed: int) -> dict[str, Any]:
    """One backlog: half of it warms the stream up, the other half is timed."""
    out = lab.large_producer(settings)
    events = lab.Events(settings, n_users=n_users, seed=seed)
    before = lab.n_read(settings, partitions=partitions)
    lab.send(out, events, n_events)
    lab.start_verb(settings, "stream")
    lab.wait_read(settings, before + n_events, partitions=partitions)
    lab.stop_verb(settings, "stream")
    n_bytes = lab.send(out, events, n_events)
    warm = n_events // 4
    lab.start_verb(settings, "stream")
    lab.wait_read(settings, before + n_events + warm, partitions=partitions)
    steps = lab.step_times(settings.stream.metrics_port)
    began, start = time.monotonic(), lab.n_read(settings, partitions=partitions)
    lab.wait_read(settings, before + 2 * n_events, partitions=partitions)
    seconds = time.monotonic() - began
    steps = lab.step_means(steps, lab.step_times(settings.stream.metrics_port))
    lab.stop_verb(settings, "stream")
    timed = before + 2 * n_events - start
    return {
        "n_users": n_users,
        "partitions": partitions,
        "n_events": timed,
        "bytes_per_event": round(n_bytes / n_events, 1),
        "seconds": round(seconds, 2),
        "events_per_s": round(timed / seconds),
        "batch_ms": steps,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--users", default="10000")
    parser.add_argument("--partitions", default="2")
    parser.add_argument("--repeats", type=int, default=3)
    given, machine = parser.parse_args(), facts()
    runs = []
    for partitions in map(int, given.partitions.split(",")):
        for n_users in map(int, given.users.split(",")):
            for repeat in range(given.repeats):
                (port,) = free_ports(1)
                with lab.own_stack(partitions=partitions, metrics_port=port) as settings:
                    runs.append(
                        run(settings, n_events=given.events, n_users=n_users, partitions=partitions, seed=repeat)
                    )
                print(json.dumps(runs[-1]), flush=True)
    print(json.dumps({**machine, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

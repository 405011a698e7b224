"""How long until an event is readable through Feast? Milliseconds from produce() to a Feast read that shows it.

A paced generator sends events of many users; every so often one of a user nobody knew. A prober, a process of its own,
asks Redis which of those users have come and reads them through Feast (`get_online_features`): the moment that read
returns ends the measurement. Where the time goes comes from the stream's own /metrics.

    .venv/bin/python -m benchmarks.freshness --rate 2000 --seconds 35 --repeats 3 [--ways firstmile,feast]

The way `feast` is Feast's own SparkKafkaProcessor on the same events: feast_processor.py.
"""

import argparse
import gc
import json
import multiprocessing as mp
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from confluent_kafka.admin import NewTopic

from benchmarks import feast_processor, lab
from benchmarks.machine import facts
from feature_repo.online_store import connect, user_key
from feature_repo.store import apply, feature_store
from firstmile.broker import admin, producer
from firstmile.local.ports import free_ports
from firstmile.names import PROJECT, USER_ACTIONS
from firstmile.settings import Settings

PROBES_PER_S = 40
WARM_UP_S = 40
TICK_S = 0.005
POLL_S = 0.01
"""Adds 5 ms on average to what is measured; oftener would take more CPU from it."""
SETTLE_S = 20.0


def generate(settings: Settings, way: str, rate: int, seconds: float, n_users: int, sent: Connection) -> None:
    """Send at a pace; tell None before the first, then each probe's user and time, then None."""
    out, n = producer(settings), round(rate * (WARM_UP_S + seconds))
    topic, every = (feast_processor.TOPIC if way == "feast" else USER_ACTIONS), rate // PROBES_PER_S
    events, first_us = lab.Events(settings, n_users=n_users), time.time_ns() // 1_000
    # Encoded ahead: at 2,000 a second it would take half a core from what is measured. received_at lies in the past.
    ahead = []
    for i in range(n):
        is_probe = i % every == 0 and i >= rate * WARM_UP_S
        user = f"probe-{i}-{rate}" if is_probe else None
        ahead.append((*events.one(user, at_us=first_us + i, as_json=way == "feast"), is_probe))
    gc.freeze()
    sent.send(None)
    began = time.perf_counter()
    for i, (key, value, is_probe) in enumerate(ahead):
        # A few at a time: waiting for each by itself would take most of a core.
        if (left := began + i / rate - time.perf_counter()) > 0:
            time.sleep(left + TICK_S)
        if is_probe:
            sent.send((key, time.time_ns()))
        out.send(topic, key=key, value=value)
    out.flush()
    sent.send(None)


def probe(settings: Settings, way: str, sent: Connection, results: Connection) -> None:
    """Wait for every probe's row; sends back the milliseconds of each, NaN for those that never came."""
    is_feast = way == "feast"
    store = feast_processor.store(settings) if is_feast else feature_store(settings)
    view, feature = (feast_processor.VIEW, "name") if is_feast else ("user_activity", "activity")
    client = connect(settings.redis_url, timeout_s=5)
    waiting: dict[str, int] = {}
    found: list[float] = []
    is_open, last = True, time.monotonic()
    while is_open or (waiting and time.monotonic() - last < SETTLE_S):
        while is_open and sent.poll(0):
            said = sent.recv()
            is_open = said is not None
            if said:
                waiting[said[0]], last = said[1], time.monotonic()
        come = _there(client, list(waiting), "processor" if is_feast else PROJECT)
        if come:
            values = store.get_online_features([f"{view}:{feature}"], [{"user_id": user} for user in come]).to_dict()
            now_ns = time.time_ns()
            shown = [user for user, value in zip(come, values[feature], strict=True) if value]
            found += [(now_ns - waiting.pop(user)) / 1e6 for user in shown]
        time.sleep(POLL_S)
    results.send(found + [float("nan")] * len(waiting))


def _there(client: "lab.Any", users: list[str], project: str) -> list[str]:
    keys = [user_key(user).removesuffix(PROJECT.encode()) + project.encode() for user in users]
    if not keys or not client.exists(*keys):  # one short question, as nearly always nobody has come
        return []
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.exists(key)
        return [user for user, is_there in zip(users, pipe.execute(), strict=True) if is_there]


def run(way: str, rate: int, seconds: float, n_users: int) -> dict[str, object]:
    """One run on a stack of its own."""
    (port,) = free_ports(1)
    context = mp.get_context("spawn")
    with lab.own_stack(metrics_port=port) as settings:
        _start(settings, way)
        said_in, said_out = context.Pipe(duplex=False)
        result_in, result_out = context.Pipe(duplex=False)
        prober = context.Process(target=probe, args=(settings, way, said_in, result_out))
        generator = context.Process(target=generate, args=(settings, way, rate, seconds, n_users, said_out))
        generator.start()
        said_in.recv()
        prober.start()
        time.sleep(WARM_UP_S)
        before = lab.step_times(port) if way == "firstmile" else {}
        found = np.array(result_in.recv() if result_in.poll(seconds + 120) else [])
        after = lab.step_times(port) if way == "firstmile" else {}
        generator.join()
        prober.join()
        lab.stop_verb(settings, way)
    came = found[~np.isnan(found)]
    return {
        "way": way,
        "rate_per_s": rate,
        "n_probes": len(found),
        "n_lost": int(np.isnan(found).sum()),
        "ms": {f"p{p:g}": round(float(np.percentile(came, p)), 1) for p in (1, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)},
        "batch_ms": lab.step_means(before, after),
    }


def _start(settings: Settings, way: str) -> None:
    if way == "firstmile":
        apply(settings)
        lab.start_verb(settings, way, [str(Path(sys.executable).with_name("firstmile")), "stream"])
        return
    topic = NewTopic(feast_processor.TOPIC, num_partitions=2, replication_factor=1)
    client = admin(settings)
    client.create_topics([topic])[topic.topic].result()
    lab.start_verb(settings, way, [sys.executable, "-m", "benchmarks.feast_processor"])


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2_000, help="events per second")
    parser.add_argument("--seconds", type=float, default=35.0)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", default="firstmile")
    given, machine = parser.parse_args(), facts()
    runs = []
    for _ in range(given.repeats):
        for way in given.ways.split(","):
            runs.append(run(way, given.rate, given.seconds, given.users))
            print(json.dumps(runs[-1]), flush=True)
    print(json.dumps({**machine, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

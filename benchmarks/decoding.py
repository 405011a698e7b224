"""What does decoding a batch cost? Milliseconds by the number of records in it: to fetch them from Spark as Arrow, to
decode them together, and what the reader of single records would take.

.venv/bin/python -m benchmarks.decoding --records 10,100,1000,3000,10000,50000 --repeats 9
"""

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from itertools import pairwise

from pyspark.sql import DataFrame

from benchmarks import lab
from benchmarks.machine import facts
from firstmile.names import STREAM_TOPICS, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import Registry
from pipelines.clean import read_mapping
from pipelines.decode import WriterSchemas, decoded, raw
from pipelines.decode_records import decode_records
from pipelines.reading import Reading
from pipelines.rules import read_rules
from pipelines.spark import spark_session

KAFKA = "topic string, partition int, offset bigint, timestamp timestamp, key binary, value binary"
N_WARM_UP = 30


def run(settings: Settings, sizes: list[int], repeats: int) -> list[dict[str, float]]:
    """Median milliseconds by size and way, the ways in turns."""
    session = spark_session(settings, "decoding")
    schemas = WriterSchemas(Registry(settings.registry_url))
    schemas.learn_latest()
    reading = Reading(
        read_mapping(settings.product_file("events")).fields,
        read_rules(settings.product_file("cleaning")).watched,
        {topic: f"id-of-{topic}" for topic in STREAM_TOPICS},
    )
    events, at = lab.Events(settings, n_users=5_000), datetime.now(UTC)
    found = []
    for n in sizes:
        sent = [events.one() for _ in range(n)]
        rows = [(USER_ACTIONS, i % 2, i, at, key.encode(), value) for i, (key, value) in enumerate(sent)]
        records = session.createDataFrame(rows, KAFKA).repartition(2).cache()
        records.count()
        times: dict[str, list[float]] = {"fetch": [], "together": [], "one_by_one": []}
        n_unmeasured = N_WARM_UP if n == sizes[0] else 3
        for i in range(n_unmeasured + repeats):
            measured = _ms(records, n, schemas, reading)
            if i >= n_unmeasured:
                for way, ms in measured.items():
                    times[way].append(ms)
        found.append({"n": n, **{way: round(statistics.median(each), 1) for way, each in times.items()}})
        print(json.dumps(found[-1]), flush=True)
        records.unpersist()
    session.stop()
    return found


def _ms(records: DataFrame, n: int, schemas: WriterSchemas, reading: Reading) -> dict[str, float]:
    began = time.perf_counter()
    table = raw(records).toArrow()
    fetched = time.perf_counter()
    together = decoded(table, schemas, reading)
    ready = time.perf_counter()
    one_by_one = decode_records(table, schemas.text, reading)
    done = time.perf_counter()
    assert together.num_rows == one_by_one.num_rows == n
    assert together["reason"].null_count == n
    ends = (began, fetched, ready, done)
    return dict(zip(("fetch", "together", "one_by_one"), (1_000 * (b - a) for a, b in pairwise(ends)), strict=True))


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", default="10,100,1000,3000,10000,50000")
    parser.add_argument("--repeats", type=int, default=9)
    given, machine = parser.parse_args(), facts()
    with lab.own_stack() as settings:
        runs = run(settings, [int(n) for n in given.records.split(",")], given.repeats)
    print(json.dumps({**machine, "median_ms": runs}, indent=1))


if __name__ == "__main__":
    main()

"""What does decoding a batch cost, in Python and in the JVM? Milliseconds by the number of records in it.

.venv/bin/python -m benchmarks.decoding --records 10,100,1000,3000,10000,50000 --repeats 9
"""

import argparse
import json
import statistics
import time
from datetime import UTC, datetime

from pyspark.sql import DataFrame

from benchmarks import lab
from benchmarks.machine import facts
from firstmile.names import STREAM_TOPICS, USER_ACTIONS
from firstmile.settings import Settings
from firstmile.wire import Registry
from pipelines.clean import read_mapping
from pipelines.decode import WriterSchemas, decoded, raw
from pipelines.decode_plan import Reading
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
        read_mapping(settings.stream.events).fields,
        read_rules(settings.stream.rules).watched,
        {topic: f"id-of-{topic}" for topic in STREAM_TOPICS},
    )
    events, at = lab.Events(settings, n_users=5_000), datetime.now(UTC)
    found = []
    for n in sizes:
        sent = [events.one() for _ in range(n)]
        rows = [(USER_ACTIONS, i % 2, i, at, key.encode(), value) for i, (key, value) in enumerate(sent)]
        records = session.createDataFrame(rows, KAFKA).repartition(2).cache()
        records.count()
        times: dict[str, list[float]] = {"python": [], "jvm": []}
        n_unmeasured = N_WARM_UP if n == sizes[0] else 3
        for i in range(n_unmeasured + repeats):
            for way, few in (("python", n), ("jvm", 0)):
                ms = _ms(records, n, schemas, reading, few)
                if i >= n_unmeasured:
                    times[way].append(ms)
        found.append({"n": n, **{way: round(statistics.median(each), 1) for way, each in times.items()}})
        print(json.dumps(found[-1]), flush=True)
        records.unpersist()
    session.stop()
    return found


def _ms(records: DataFrame, n: int, schemas: WriterSchemas, reading: Reading, few: int) -> float:
    began = time.perf_counter()
    table = decoded(raw(records), n, schemas, reading, few=few)
    took = 1_000 * (time.perf_counter() - began)
    assert table.num_rows == n
    assert table["reason"].null_count == n
    return took


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

"""A process that logs decisions until it is killed: `python decision_writer.py`, settings in the environment.

Prints the request_id of each on stdout once the log has it.
"""

import asyncio
import itertools
import sys
import threading
import time

from serving_builder import Row, Rows, ladder

from firstmile.settings import load_settings
from serving.decisions import kafka_log
from serving.metrics import Metrics
from serving.requests import Ask

PER_S = 50


def main() -> None:
    """Decide and log, a steady stream."""
    on = ladder(Rows({"u1": Row()}))
    log = kafka_log(load_settings(), Metrics())
    log.start()
    for _ in itertools.count():
        decision = asyncio.run(on.decide(Ask("u1"), started_s=time.perf_counter()))
        log.put(decision)
        sys.stdout.write(decision.request_id + "\n")
        sys.stdout.flush()
        threading.Event().wait(1 / PER_S)


if __name__ == "__main__":
    main()

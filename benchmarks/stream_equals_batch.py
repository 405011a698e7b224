"""Does the stream give the features that the backfill gives? All of OULAD through Kafka and through files.

    python -m benchmarks.stream_equals_batch [--presentations AAA_2013J,…] > result.json

Real Kafka, registry and Redis in a temporary home; `firstmile stream`, `replay` and `backfill` as processes. Exit code
1 when a feature differs that the rows' own counters do not say was lost.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import lab
from benchmarks.machine import ROOT, facts
from benchmarks.row_comparison import compare
from examples.oulad.tables import tables as oulad
from feature_repo import progress
from feature_repo.online_store import connect
from firstmile.broker import describe_topics
from firstmile.local.lag import end_offsets
from firstmile.local.ports import free_ports
from firstmile.local.process import die_with_parent
from firstmile.local.stack import Stack
from firstmile.names import STREAM_TOPICS
from firstmile.setting_sections import LocalSettings
from firstmile.settings import Settings, as_environment

PARTS = ("kafka", "kafka_controller", "registry", "registry_management", "redis", "mlflow")
INSTANTS_US = (1_365_000_000_000_000, 1_390_000_000_000_000, 1_413_100_000_000_000)
"""2013-04, 2014-01 and 2014-10: each finds some users in the middle of their windows and others long gone."""
DEADLINE_S = 3_600.0


def main() -> int:
    """Run it; prints one JSON object."""
    parser = argparse.ArgumentParser(description="stream == batch on OULAD")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "oulad")
    parser.add_argument("--presentations", default="", help="comma-separated; empty: all")
    given = parser.parse_args()
    measured, began = facts(), time.monotonic()
    names = given.presentations.split(",") if given.presentations else None
    users = [str(u) for u in oulad.read(given.data, names).info["user_id"].to_pylist()]
    choice = ["--data", str(given.data), *(["--presentations", given.presentations] if names else [])]
    with tempfile.TemporaryDirectory(prefix="stream-equals-batch-") as folder, _stack(Path(folder)) as settings:
        with _stream(settings):
            replayed = _verb(settings, "replay", "oulad", *choice)
            _wait_until_read(settings)
        streamed_s = time.monotonic() - began
        backfilled = _verb(settings, "backfill", "oulad", *choice)
        result = compare(settings, users, INSTANTS_US)
    seconds = round(time.monotonic() - began, 1)
    timing = {"replay_and_stream_s": round(streamed_s, 1), "backfill_s": backfilled["seconds"], "seconds": seconds}
    records = {"click_events": replayed["click_events"], "records": replayed["records"]}
    sys.stdout.write(json.dumps({"machine": measured, **records, **result, **timing}, indent=1) + "\n")
    return 1 if result["n_differences"] else 0


@contextmanager
def _stack(folder: Path) -> Iterator[Settings]:
    ports = dict(zip((f"{part}_port" for part in PARTS), free_ports(len(PARTS)), strict=True))
    local = LocalSettings(**{**_local(), **ports})
    settings = Settings(home=folder, local=local, product=lab.PRODUCT)
    stack = Stack(settings, with_parent=True)
    stack.up(["kafka", "registry", "redis"])
    try:
        yield settings
    finally:
        stack.down()


def _local() -> dict[str, Any]:
    return Settings().local.model_dump()


@contextmanager
def _stream(settings: Settings) -> Iterator[None]:
    log = settings.home / "stream.log"
    with log.open("wb") as out:
        process = _start(settings, ["stream"], stdout=out, stderr=out)
        try:
            end = time.monotonic() + 300
            while "ready:" not in log.read_text(errors="replace"):
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"the stream did not start:\n{log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait_until_read(settings: Settings) -> None:
    client, topics = connect(settings.redis_url, timeout_s=30), describe_topics(settings, STREAM_TOPICS)
    partitions = [(name, p) for name, info in topics.items() for p in range(info.n_partitions)]
    wanted, end = sum(end_offsets(settings, STREAM_TOPICS).values()), time.monotonic() + DEADLINE_S
    while sum(record.next_offset for record in progress.read(client, partitions).values()) < wanted:
        if time.monotonic() > end:
            raise SystemExit(f"the stream has not read {wanted} records within {DEADLINE_S:.0f} s")
        time.sleep(0.5)


def _verb(settings: Settings, *words: str) -> dict[str, Any]:
    """A verb run to its end; its result."""
    process = _start(settings, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, errors = process.communicate(timeout=DEADLINE_S)
    if process.returncode:
        raise SystemExit(f"firstmile {' '.join(words)} failed:\n{errors.decode()[-3000:]}")
    return dict(json.loads(out))


def _start(settings: Settings, words: Sequence[str], **outputs: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("firstmile")), *words],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **as_environment(settings)},
        preexec_fn=die_with_parent(),
        **outputs,
    )


if __name__ == "__main__":
    sys.exit(main())

"""Every OULAD click through Kafka and the stream, and through the backfill: exact totals, online and offline."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from conftest import settings_on_free_ports
from kafka_reading import end_offsets
from running import poll, run, running

from benchmarks.row_comparison import compare
from benchmarks.stream_equals_batch import INSTANTS_US
from examples.oulad.tables import tables as oulad
from feature_repo import progress
from feature_repo.online_store import connect
from feature_repo.row import unpack_rows
from feature_repo.windows import FEATURE_NAMES, windows
from firstmile.local.stack import Stack
from firstmile.names import STREAM_TOPICS
from firstmile.settings import Settings
from pipelines.rows import read_users

DATA = Path(__file__).parents[2] / "data" / "oulad"
N_CLICKS, WEIGHT = 753_564, 2_594_563


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack that has never seen an event."""
    own = settings_on_free_ports(tmp_path_factory.mktemp("replay"))
    stack = Stack(own, with_parent=True)
    stack.up(["kafka", "registry", "redis"])
    yield own
    stack.down()


@pytest.fixture(scope="module")
def users() -> list[str]:
    return [str(u) for u in oulad.read(DATA).info["user_id"].to_pylist()]


def totals(packed: list[bytes | None]) -> tuple[int, int]:
    found = windows(unpack_rows(packed), np.ones(len(packed), np.int64))
    return int(found["clicks_total_count"].sum()), int(found["clicks_total_weight"].sum())


@pytest.mark.timeout(900)
def test_a_full_replay_shows_every_click_online(settings: Settings, users: list[str]) -> None:
    with running(settings, ["stream"], settings.home / "stream.log"):
        done = run(settings, "replay", "oulad", "--data", str(DATA), timeout_s=600)
        assert done.returncode == 0, done.stderr[-3000:]
        ends, client = end_offsets(settings, STREAM_TOPICS), connect(settings.redis_url, timeout_s=30)

        def is_read() -> bool:
            return all(p.next_offset >= ends[at] for at, p in progress.read(client, ends).items())

        poll(is_read, timeout_s=600, what="the whole replay in the rows")
    assert totals(read_users(client, users).activity) == (N_CLICKS, WEIGHT)


@pytest.mark.timeout(600)
def test_the_backfill_shows_every_click_offline(settings: Settings) -> None:
    done = run(settings, "backfill", "oulad", "--data", str(DATA), "--no-content", timeout_s=500)
    assert done.returncode == 0, done.stderr[-3000:]
    history = str(settings.history / "user_activity" / "*.parquet")
    query = f"SELECT arg_max(activity, event_timestamp) FROM '{history}' GROUP BY user_id"
    assert totals([bytes(row[0]) for row in duckdb.sql(query).fetchall()]) == (N_CLICKS, WEIGHT)


def test_both_ways_give_the_same_rows(settings: Settings, users: list[str]) -> None:
    """Stream == batch: every feature at three instants, step, profile and context of everybody.

    Generated server errors come in a topic of their own, which a backlog reads days ahead of or behind the clicks: past
    the lateness bound, a row counts late events and may have other sessions, nothing else. All other rows are equal
    byte for byte.
    """
    found = compare(settings, users, INSTANTS_US)
    assert found["n_differences"] == 0, "\n".join(found["examples"])
    assert found["n_users"] == len(users)
    assert found["n_features"] > len(FEATURE_NAMES)
    n_late = found["n_rows_with_late_events"]
    assert found["n_rows_equal_byte_for_byte"] >= len(users) - n_late > len(users) / 3

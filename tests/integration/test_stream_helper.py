"""A batch shared by two processes is what it would be by one, also when one of them dies or fails."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from kafka_reading import end_offsets, records_since
from running import poll

from feature_repo import progress
from feature_repo.online_store import connect
from feature_repo.progress import Partition, Progress
from feature_repo.row import unpack_rows
from feature_repo.windows import windows
from firstmile.errors import DependencyError, StoreLossError
from firstmile.names import ENRICHED, USER_ACTIONS
from firstmile.settings import Settings, as_environment
from firstmile.wire import RecordWriter, Registry
from pipelines.batch import BatchWriter
from pipelines.helper import Helper
from pipelines.reading import SCHEMA
from pipelines.rows import read_users
from pipelines.share import Before, share_writer

T0_US = 1_700_000_000_000_000
N_RECORDS = 400
PARTITIONS = ((USER_ACTIONS, 2_001), (USER_ACTIONS, 2_002))
START, END = dict.fromkeys(PARTITIONS, 0), dict.fromkeys(PARTITIONS, N_RECORDS // 2)


@dataclass
class Case:
    """Records of eight users in two partitions that no topic has, and writers of them."""

    settings: Settings
    topic_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    helpers: list[Helper] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = connect(self.settings.redis_url, timeout_s=5)
        self.users = [f"u-{uuid.uuid4()}" for _ in range(8)]
        self.forget()
        progress.write(self.client, {}, {at: Progress(0, self.topic_id, 0) for at in PARTITIONS})

    def forget(self) -> None:
        """Their progress, which is this test's alone."""
        self.client.hdel(progress.KEY, *(progress.field(at) for at in PARTITIONS))

    def writer(self, n_helpers: int) -> BatchWriter:
        """A new one, which knows nothing of those before."""
        topic_ids = {USER_ACTIONS: self.topic_id}
        helpers = [Helper(self.settings, topic_ids) for _ in range(n_helpers)]
        self.helpers += helpers
        return BatchWriter(share_writer(self.settings, topic_ids), helpers)

    def records(self) -> pa.Table:
        """As Kafka has them."""
        write = RecordWriter(Registry(self.settings.registry_url), USER_ACTIONS)
        rows = []
        for i in range(N_RECORDS):
            half, at_us = i % 2, T0_US + i * 1_000_000
            user = self.users[half * 4 + i // 2 % 4]
            said = {"message_id": f"{self.topic_id}-{i}", "user_id": user, "name": "Page Viewed"}
            value = write.encode({**said, "event_time": at_us, "received_at": at_us, "weight": 1})
            rows.append((*PARTITIONS[half], i // 2, at_us, user.encode(), value))
        return pa.Table.from_arrays(
            [list(each) for each in zip(*rows, strict=True)], schema=pa.schema(list(SCHEMA)[:6])
        )

    def counted(self) -> list[float]:
        """Page views by user, as the store has them."""
        activity = read_users(self.client, self.users).activity
        return [float(n) for n in windows(unpack_rows(activity), np.full(8, T0_US))["page_view_total_count"]]

    def progress(self) -> dict[Partition, int]:
        """Next offsets."""
        return {at: found.next_offset for at, found in progress.read(self.client, PARTITIONS).items()}


@pytest.fixture
def case(stack: Settings) -> Iterator[Case]:
    case = Case(stack)
    yield case
    for helper in case.helpers:
        helper.close()
    case.forget()


def test_two_processes_do_what_one_does(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[int] = []
    begin = Helper.begin

    def noted(helper: Helper, records: pa.Table, before: Before) -> None:
        handed.append(records.num_rows)
        begin(helper, records, before)

    monkeypatch.setattr(Helper, "begin", noted)
    before = end_offsets(case.settings, (ENRICHED,))
    writer = case.writer(1)
    done = writer.write(case.records(), start=START, end=END)
    assert handed == [N_RECORDS // 2]
    assert case.counted() == [50.0] * 8
    assert case.progress() == END
    assert (done.counts["n_records"], done.counts["n_events_folded"], done.counts["n_users"]) == (400, 400, 8)
    assert done.newest_us == {at: T0_US + (398 + i) * 1_000_000 for i, at in enumerate(PARTITIONS)}
    sent = [r for _, _, r in records_since(case.settings, before) if r["source_topic_id"] == case.topic_id]
    assert sorted((r["source_partition"], r["source_offset"]) for r in sent) == [
        (number, offset) for _, number in PARTITIONS for offset in range(N_RECORDS // 2)
    ]
    again = case.writer(0).write(case.records(), start=START, end=END)
    assert (again.counts["n_records"], again.counts["n_events_folded"]) == (400, 0)
    assert case.counted() == [50.0] * 8


def test_a_helper_that_is_killed_ends_the_batch_before_its_progress(case: Case) -> None:
    writer = case.writer(1)
    os.kill(case.helpers[0].process.pid, signal.SIGKILL)
    with pytest.raises(DependencyError, match=f"pid {case.helpers[0].process.pid}, ended in the middle of a batch"):
        writer.write(case.records(), start=START, end=END)
    assert case.progress() == START
    assert sorted(case.counted()) == [0.0] * 4 + [50.0] * 4
    case.writer(1).write(case.records(), start=START, end=END)
    assert case.counted() == [50.0] * 8
    assert case.progress() == END


def test_what_a_helper_raises_arrives_and_it_goes_on(case: Case) -> None:
    writer = case.writer(1)
    (helper,) = case.helpers
    found = Before(START, progress.read(case.client, PARTITIONS), progress.guard(case.client))
    progress.write(case.client, found.expected, {PARTITIONS[0]: Progress(7, case.topic_id, 0)})  # somebody else did
    helper.begin(case.records(), found)
    answer = helper.end()
    assert isinstance(answer, StoreLossError)
    assert "a second stream runs" in str(answer)
    assert case.counted() == [0.0] * 8
    helper.begin(case.records(), replace(found, start={}, expected={}, guard=progress.guard(case.client)))
    assert not isinstance(helper.end(), Exception)
    assert case.counted() == [50.0] * 8
    assert writer.others == [helper]


def test_a_helper_ends_with_a_stream_that_is_killed(stack: Settings, tmp_path: Path) -> None:
    code = (
        "import sys, time; from firstmile.settings import load_settings; from pipelines.helper import Helper; "
        "print(Helper(load_settings(), {}).process.pid, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, **as_environment(stack)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, cwd=tmp_path)
    assert parent.stdout
    helper = psutil.Process(int(parent.stdout.readline()))
    assert helper.is_running()
    parent.kill()
    parent.wait()
    poll(lambda: not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE, what="the helper has ended")

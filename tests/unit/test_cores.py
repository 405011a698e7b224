"""Usable cores by affinity and by the quotas of cgroup v2 and v1, read from files that a test writes."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from firstmile.broker import TopicInfo
from firstmile.cores import usable_cores
from firstmile.settings import Settings
from pipelines.stream import Stream

V1 = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def cores(folder: Path, own: str, files: Mapping[str, str]) -> int:
    for name, text in files.items():
        file = folder / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (folder / "own").write_text(own + "\n")
    return usable_cores(own=folder / "own", mounted=folder / "mounted")


@pytest.mark.parametrize(
    ("cpu_max", "n"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 3),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("0 100000", 1),
        ("", 8),
        ("100000 0", 8),
    ],
)
def test_quota_of_cgroup_2_is_rounded_up_and_at_most_the_affinity(tmp_path: Path, cpu_max: str, n: int) -> None:
    assert cores(tmp_path, "0::/", {"cpu.max": cpu_max}) == n


@pytest.mark.parametrize(
    ("quota", "period", "n"), [("-1", "100000", 8), ("150000", "100000", 2), ("20000", "10000", 2)]
)
def test_quota_of_cgroup_1_is_read_where_a_container_sees_it(tmp_path: Path, quota: str, period: str, n: int) -> None:
    files = {"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": period}  # the path is the host's
    assert cores(tmp_path, V1, files) == n


def test_quota_of_cgroup_1_is_read_under_the_mount_named_by_both_controllers(tmp_path: Path) -> None:
    folder = "cpu,cpuacct/docker/abc"
    files = {f"{folder}/cpu.cfs_quota_us": "300000", f"{folder}/cpu.cfs_period_us": "100000"}
    assert cores(tmp_path, V1, files) == 3


def test_lowest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    files = {
        "system.slice/stream.service/cpu.max": "600000 100000",
        "system.slice/cpu.max": "300000 100000",
        "other.slice/cpu.max": "100000 100000",
    }
    assert cores(tmp_path, "0::/system.slice/stream.service", files) == 3


def test_without_cgroups_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores(own=tmp_path / "none", mounted=tmp_path / "none") == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5}, raising=False)
    assert usable_cores(own=tmp_path / "none", mounted=tmp_path / "none") == 1


def test_without_affinity_the_machine_s_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(own=tmp_path / "none", mounted=tmp_path / "none") == 6


def test_this_machine_has_at_least_one() -> None:
    assert 1 <= usable_cores() <= 8


def test_stream_starts_no_more_processes_than_cores_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    stream = Stream(Settings())
    stream.topics = {"t": TopicInfo("t", "id", 12)}
    assert stream._n_processes() == 1

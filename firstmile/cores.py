"""Counts the cores that this process may use: os.cpu_count() counts the machine's, whatever a container's limit is."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OWN: Final = Path("/proc/self/cgroup")
MOUNTED: Final = Path("/sys/fs/cgroup")


def usable_cores(*, own: Path = OWN, mounted: Path = MOUNTED) -> int:
    """Cores by affinity, or by the lowest CPU quota over this process when that is less: rounded up, at least 1.

    own
        Which cgroups the process is in, as /proc/self/cgroup.
    mounted
        Where cgroup v2, or a folder per controller of v1, is mounted.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    n_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min([n_cores, *(math.ceil(quota) for quota in _quotas(own, mounted))]))


def _quotas(own: Path, mounted: Path) -> Iterator[float]:
    """Quotas in cores, of the process's cgroups and of all above them."""
    for line in (_text(own) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for folder in _upwards(mounted, path):
                quota, _, period = (_text(folder / "cpu.max") or "max").partition(" ")
                yield from _in_cores(quota, period)
        elif "cpu" in controllers.split(","):
            for folder in (f for name in {controllers, "cpu"} for f in _upwards(mounted / name, path)):
                quota, period = (_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
                yield from _in_cores(quota, period)


def _upwards(mounted: Path, path: str) -> Iterator[Path]:
    """The cgroup's folder and those above it: in a container the path may be the host's, and only the last is there."""
    folder = mounted / path.lstrip("/")
    yield from (folder, *(each for each in folder.parents if each == mounted or mounted in each.parents))


def _in_cores(quota: str, period: str) -> Iterator[float]:
    """One figure, or none where there is no limit (`max`, -1) or no file."""
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None

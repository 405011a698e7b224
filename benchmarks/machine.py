"""Where, when and how a figure was measured: every benchmark prints it beside its result."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from firstmile.cores import usable_cores

ROOT = Path(__file__).resolve().parents[1]
_NAMES = ("model name", "Hardware", "cpu model")


def facts() -> dict[str, Any]:
    """Processor, cores, memory, kernel, date, commit, load average and command.

    Taken at the start: a load average of more than the usable cores says that the figures are those of a busy machine.
    """
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "command": shlex.join(["python", *_words()]),
    }


def _words() -> list[str]:
    """`-m benchmarks.x …` as it was typed."""
    given = list(sys.orig_argv[1:])
    return given or list(sys.argv)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() in _NAMES)
    return next(named, platform.machine())


def _commit() -> str:
    """Short hash, with a + when the work tree differs from it; empty outside a repository."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

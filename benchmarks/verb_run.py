"""A verb run to its end as a user runs it: what it said, how long it took, and its memory meanwhile."""

import json
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from firstmile.setting_sections import ROOT
from firstmile.settings import Settings
from training.child import environment, verb

EVERY_S = 0.2


@dataclass(frozen=True)
class Told:
    """What a verb printed, its seconds, and its memory in MiB with all its children's, every EVERY_S."""

    said: dict[str, Any]
    seconds: float
    memory_mib: list[int]


def told(settings: Settings, *words: str) -> Told:
    """Run it. Raises RuntimeError when it fails."""
    began, memory = time.perf_counter(), [0]
    with (
        tempfile.TemporaryFile() as out,
        subprocess.Popen(verb(words), env=environment(settings), stdout=out, cwd=ROOT) as child,
    ):
        watched = psutil.Process(child.pid)
        while child.poll() is None:
            with suppress(psutil.Error):  # it may just have ended
                now = sum(p.memory_info().rss for p in (watched, *watched.children(recursive=True)))
                memory.append(round(now / 2**20))
            time.sleep(EVERY_S)
        seconds = time.perf_counter() - began
        out.seek(0)
        said = out.read()
    if child.returncode:
        raise RuntimeError(f"firstmile {' '.join(words)} ended with {child.returncode}; its words are above")
    return Told(json.loads(said), seconds, memory)

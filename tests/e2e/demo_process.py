"""A demo as a shell starts it: on free ports, in a home of its own, its words read as they come."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from firstmile.local.process import MARK
from firstmile.settings import Settings, as_environment

UP_S = 900.0
STOP_S = 120.0


class Demo:
    """`firstmile demo …`; its stderr is a file that grows."""

    def __init__(self, settings: Settings, *words: str) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.home = settings.home / "demo"
        self.said, self.result = settings.home / "said.txt", settings.home / "result.json"
        with self.said.open("wb") as said, self.result.open("wb") as result:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("firstmile")), "demo", *words],
                env={**os.environ, **as_environment(settings)},
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=said,
                start_new_session=True,
            )

    def text(self) -> str:
        """What it said so far."""
        return self.said.read_text(errors="replace")

    def until(self, condition: Callable[[], object], *, deadline_s: float = UP_S) -> None:
        """Wait; the demo must not end meanwhile."""
        end = time.monotonic() + deadline_s
        while not condition():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < end, self.text()
            time.sleep(0.1)

    def until_said(self, words: str, *, deadline_s: float = UP_S) -> None:
        """Wait for a line."""
        self.until(lambda: words in self.text(), deadline_s=deadline_s)

    def wait(self, deadline_s: float = UP_S) -> int:
        """Its exit code."""
        return self.process.wait(deadline_s)

    def interrupt(self) -> int:
        """Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.wait(STOP_S)

    def left_behind(self) -> list[psutil.Process]:
        """Processes that carry the mark of this demo and still run."""
        return [p for p in psutil.process_iter() if _mark_of(p).startswith(f"{self.home}/")]

    def close(self) -> None:
        """Never leave it running."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _mark_of(process: psutil.Process) -> str:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return process.environ().get(MARK, "")
    except psutil.Error:
        return ""

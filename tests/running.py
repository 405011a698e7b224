"""Long-running verbs as subprocesses, ended with the test that started them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from firstmile.local.process import die_with_parent
from firstmile.settings import Settings, as_environment


def poll(condition: Callable[[], bool], *, timeout_s: float = 60.0, what: str = "the condition") -> None:
    """Wait until it holds; fails after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        threading.Event().wait(0.05)


def command(*words: str) -> list[str]:
    """`firstmile …` of this environment."""
    return [str(Path(sys.executable).with_name("firstmile")), *words]


@contextmanager
def running(
    settings: Settings, words: Sequence[str], log: Path, *, timeout_s: float = 120.0
) -> Iterator[subprocess.Popen[bytes]]:
    """A verb that has said `ready:`; stopped by SIGTERM at the end, if it still runs."""
    with log.open("ab") as out:
        before = log.stat().st_size
        process = subprocess.Popen(
            command(*words),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **as_environment(settings)},
            preexec_fn=die_with_parent(),
        )
        try:

            def is_ready() -> bool:
                text = log.read_bytes()[before:].decode(errors="replace")
                assert process.poll() is None, f"{' '.join(words)} ended:\n{text[-3000:]}"
                return "ready:" in text

            poll(is_ready, timeout_s=timeout_s, what=f"{' '.join(words)} ready")
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(timeout=60)


def run(settings: Settings, *words: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
    """A verb run to its end."""
    return subprocess.run(
        command(*words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **as_environment(settings)},
        preexec_fn=die_with_parent(),
    )

"""One at a time: a folder that one process holds, until it ends however it ends."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from firstmile.cli import console
from firstmile.errors import ConflictError

POLL_S: Final = 0.2


@contextmanager
def alone(folder: Path, *, verb: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a folder against other processes of this machine; two homes do not see each other.

    wait_s
        How long who holds it may take to let go; 0: not waited for.

    Raises ConflictError while another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        if not _is_taken(lock):
            if not wait_s:
                raise ConflictError(
                    f"`firstmile {verb}` cannot begin, another process holds {folder}; wait or stop it, or give this "
                    "one a FIRSTMILE_HOME of its own"
                )
            console.print(f"{verb}: waiting up to {wait_s:g} s, another process holds {folder}", soft_wrap=True)
            _wait(lock, folder, verb=verb, wait_s=wait_s)
        yield


def _wait(lock: IO[str], folder: Path, *, verb: str, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while not _is_taken(lock):
        if time.monotonic() >= until:
            raise ConflictError(
                f"`firstmile {verb}` waited {wait_s:g} s and did nothing: another process still holds {folder}; run it "
                "again when that one has ended"
            )
        time.sleep(POLL_S)


def _is_taken(lock: IO[str]) -> bool:
    """Whether the lock is this process's now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""One at a time: a folder that one process holds, until it ends however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstmile.errors import ConflictError


@contextmanager
def alone(folder: Path, *, verb: str) -> Iterator[None]:
    """Raise ConflictError while another process holds the folder: of this machine; two homes do not see each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"`firstmile {verb}` cannot begin, another process holds {folder}; wait or stop it, or give this one "
                "a FIRSTMILE_HOME of its own"
            ) from None
        yield

"""Whether a file is another one than last time."""

from pathlib import Path

Stamp = tuple[int, int, int] | None
"""(time changed in ns, size, inode) of a file; None when there is none."""


def stamp(path: Path) -> Stamp:
    """The file's stamp now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

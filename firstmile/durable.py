"""What is on disk also after a power cut."""

import os
from pathlib import Path


def to_disk(path: Path) -> None:
    """Wait until a file, or a folder's names, are there: else a rename may be on disk before the bytes it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

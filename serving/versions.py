"""Which rules and which content an answer was made with: short hashes, the same wherever the same files are read."""

import hashlib
from pathlib import Path
from typing import Final

from serving.catalogue import Catalogue

LENGTH: Final = 12


def versions(catalogue: Catalogue, rules: Path) -> dict[str, str]:
    """The hash of the rules' file, and of everything on the shelves, in order: a hook's shelves too.

    Raises OSError when the file cannot be read.
    """
    content = hashlib.sha256()
    for cohort, shelf in sorted(catalogue.shelves.items()):
        content.update(f"{cohort}\n".encode())
        for item in shelf.items:
            content.update(item.model_dump_json().encode())
    return {
        "rules": hashlib.sha256(rules.read_bytes()).hexdigest()[:LENGTH],
        "content": content.hexdigest()[:LENGTH],
    }

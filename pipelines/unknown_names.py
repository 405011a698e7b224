"""Event names nobody mapped, by name and bounded: what a new product has to add to its events.yaml."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

log = logging.getLogger(__name__)

MAX_NAMES: Final = 100
REST: Final = "(other names)"


@dataclass
class UnknownNames:
    """Counts since the process began. A batch done again is counted again."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, names: Mapping[str, int]) -> None:
        """Count; a name that comes for the first time is logged.

        >>> unknown = UnknownNames()
        >>> unknown.add({f"name {i}": 2 for i in range(MAX_NAMES + 5)})
        >>> len(unknown.counts), unknown.counts[REST]
        (101, 10)
        """
        new = []
        for name, n in names.items():
            is_known = name in self.counts
            key = name if is_known or len(self.counts) < MAX_NAMES else REST
            if key not in self.counts:
                new.append(f"{key!r:.120} ({n})")
            self.counts[key] = self.counts.get(key, 0) + n
        if new:
            log.warning("no family in events.yaml, counted as unknown: %s; see docs/cleaning.md", ", ".join(new))

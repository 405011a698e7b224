"""Event time: how far every partition has been read, and so which windows nothing more can reach. Pure."""

from dataclasses import dataclass, field
from typing import Final

Partition = tuple[str, int]

DISORDER_US: Final = 10_000_000
"""How much older than its predecessor in a partition a record may be: collectors and workers write side by side."""


@dataclass
class Clocks:
    """One clock a partition; it shows the greatest time read there, and never goes back.

    A partition that was read to its end, when nothing was on its way to it, shows the time at which that was asked.
    """

    _shown_us: dict[Partition, int | None] = field(default_factory=dict)

    def follow(self, partitions: list[Partition]) -> None:
        """These partitions count from now on; one that is gone no longer does."""
        self._shown_us = {partition: self._shown_us.get(partition) for partition in partitions}

    def advance(self, partition: Partition, to_us: int) -> None:
        """A partition has been read up to this time."""
        self._shown_us[partition] = max(self._shown_us.get(partition) or 0, to_us)

    def watermark_us(self) -> int:
        """Every record up to this time has been read; 0 while a partition has shown nothing.

        >>> clocks = Clocks()
        >>> clocks.follow([("a", 0), ("b", 0)])
        >>> clocks.advance(("a", 0), 70_000_000)
        >>> clocks.watermark_us()
        0
        >>> clocks.advance(("b", 0), 50_000_000)
        >>> clocks.watermark_us()
        40000000
        """
        shown = [0 if us is None else us for us in self._shown_us.values()]
        return max(0, min(shown, default=0) - DISORDER_US)

"""What a record must keep to be used: held at the collector's door, and where records of any writer are decoded."""

from typing import Final

from feature_repo.activity import MAX_EVENT_MS

MAX_RECORD_BYTES: Final = 65_536
EARLIEST_US: Final = 1_104_537_600_000_000
"""2005-01-01: nothing we read happened before it."""
LATEST_US: Final = MAX_EVENT_MS * 1_000
MAX_AHEAD_US: Final = 86_400_000_000
"""A record received more than a day after Kafka had it was stamped by a broken clock."""

"""columns.yaml: which columns of a product's own table hold user, event, time, properties and traits.

    version: 1
    user_id: case_id                 # column
    event: activity                  # column, or {value: Loan Applied} where every row is the same
    timestamp: completed_at          # ISO 8601, or a number of seconds, ms or µs
    timezone: Europe/Amsterdam       # of times that name no offset; UTC unless said
    message_id: row_id               # may be left out: it is then made of the row
    properties: [amount, channel]    # columns, or {name: column}; without this line every other column
    traits: {plan: PLAN}             # columns, or {name: column}; each change becomes a profile statement

`tracking_call` makes a tracking call (the body form of Segment) of a row.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict

from firstmile.documents import Document, read_document

VERSION: Final = 1
Named = tuple[str, ...] | dict[str, str]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str


class Columns(BaseModel):
    """A columns file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    user_id: str
    event: str | _Value
    timestamp: str
    timezone: str = "UTC"
    message_id: str | None = None
    anonymous_id: str | None = None
    properties: Named | None = None
    traits: Named = ()

    def named(self) -> set[str]:
        """The columns that are spoken of."""
        said = {self.user_id, self.timestamp, self.message_id, self.anonymous_id} - {None}
        said |= {self.event} if isinstance(self.event, str) else set()
        return {str(c) for c in said} | set(_pairs(self.properties or ()).values()) | set(_pairs(self.traits).values())

    def tracking_call(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row as a track call."""
        own = self.named() if self.properties is None else set()
        places = {n: n for n in row if n not in own} if self.properties is None else _pairs(self.properties)
        call = {
            "type": "track",
            "userId": row.get(self.user_id),
            "event": row.get(self.event) if isinstance(self.event, str) else self.event.value,
            "timestamp": self._with_offset(row.get(self.timestamp)),
            "properties": {name: row[column] for name, column in places.items() if row.get(column) is not None},
        }
        optional = {"messageId": self.message_id, "anonymousId": self.anonymous_id}
        return call | {key: row[column] for key, column in optional.items() if column and row.get(column) is not None}

    def traits_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's traits; a missing one is None, which removes it."""
        return {name: row.get(column) for name, column in _pairs(self.traits).items()}

    def _with_offset(self, value: Any) -> Any:
        """A text without an offset gets that of the time zone; anything else stays as it is."""
        if self.timezone == "UTC" or not isinstance(value, str):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return value
        return value if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(self.timezone)).isoformat()


def read_columns_file(path: Path) -> tuple[Document, Columns]:
    """The columns of a file. Raises FileError naming the line that is wrong."""
    document = read_document(path)
    columns = document.parse(Columns)
    if columns.version != VERSION:
        document.refuse(("version",), f"version {columns.version}, this is read: version: {VERSION}")
    try:
        ZoneInfo(columns.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        document.refuse(("timezone",), f"{columns.timezone!r} is no time zone; write one like Europe/Amsterdam")
    return document, columns


def check_columns(document: Document, columns: Columns, known: Sequence[str]) -> None:
    """Raise FileError for a column that the table does not have, naming those it has."""
    places = {columns.user_id: "user_id", columns.timestamp: "timestamp"}
    for name in sorted(columns.named() - set(known)):
        document.refuse((places.get(name, ""),), f"the table has no column {name!r}; it has {', '.join(known)}")


def _pairs(named: Named) -> dict[str, str]:
    return named if isinstance(named, dict) else {name: name for name in named}

"""Cleaned events: names mapped to action families, formats to the closed list, times made possible.

Pure and vectorized over an Arrow table of decoded events; the stream and the backfill both call it.
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from feature_repo.activity import NOT_COUNTED, Events
from feature_repo.applied import FROM_FILE, Source, message_hash
from feature_repo.distinct import content_hash
from firstmile.errors import DataError, unknown_name
from firstmile.names import FAMILIES, FORMATS

NONE = "none"
UNKNOWN = FAMILIES.index("unknown")
FORM_ERROR = FAMILIES.index("form_error")
OTHER_FORMAT = FORMATS.index("other")


@dataclass(frozen=True)
class EventMapping:
    """Event name → index into FAMILIES, or NOT_COUNTED."""

    code_by_name: dict[str, int]

    def codes(self, names: pd.Series) -> NDArray[np.int64]:
        """Family code of each name, shape (n,); a name nobody mapped is `unknown`."""
        return np.asarray(names.map(self.code_by_name).fillna(UNKNOWN), np.int64)


def read_mapping(text: str | None = None) -> EventMapping:
    """The mapping of pipelines/events.yaml, or of another file's text.

    Raises DataError for an unknown family or a name listed twice.
    """
    text = text or files("pipelines").joinpath("events.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    codes: dict[str, int] = {}
    for family, names in document["families"].items():
        if family != NONE and family not in FAMILIES:
            raise DataError("events.yaml: " + unknown_name("family", family, (*FAMILIES, NONE)))
        for name in names:
            if name in codes:
                raise DataError(f"events.yaml: {name!r} stands under two families")
            codes[name] = NOT_COUNTED if family == NONE else FAMILIES.index(family)
    return EventMapping(codes)


@dataclass(frozen=True)
class CleanEvents:
    """Events of one batch in order of arrival, with the columns the fold needs.

    frame
        One row per event: user_id, message_id, name, event_us, received_us, weight, content_id, format, page, step,
        onboarding_us and, from Kafka, topic_id, partition, offset.
    family
        Shape (n_events,), index into FAMILIES or NOT_COUNTED.
    """

    frame: pd.DataFrame
    family: NDArray[np.int64]


def clean(table: pa.Table | pd.DataFrame, mapping: EventMapping) -> CleanEvents:
    """Map names and put impossible futures right: an event cannot happen after it was received."""
    frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    frame = frame.assign(event_us=np.minimum(frame["event_us"], frame["received_us"]))
    return CleanEvents(frame, mapping.codes(frame["name"]))


def to_events(events: CleanEvents, user: NDArray[np.int64]) -> Events:
    """The batch as `fold` takes it.

    user
        Shape (n_events,): row index of each event's user.
    """
    frame, n = events.frame, len(events.frame)

    def ints(column: str, default: int) -> NDArray[np.int64]:
        if column not in frame:
            return np.full(n, default, np.int64)
        # Times with gaps pass through float64: µs of this century stay exact below 2**53.
        return np.asarray(pd.to_numeric(frame[column]).fillna(default), np.int64)

    formats = frame["format"].map({f: i for i, f in enumerate(FORMATS)})
    is_odd = formats.isna() & frame["format"].notna()
    from_kafka = "partition" in frame
    topic = message_hash(frame["topic_id"].to_numpy(object)) if from_kafka else np.zeros(n, np.int64)
    source = Source(
        user=user,
        hash=message_hash(frame["message_id"].to_numpy(object)),
        received_us=ints("received_us", 0),
        topic=topic,
        partition=ints("partition", FROM_FILE),
        offset=ints("offset", -1),
    )
    return Events(
        source=source,
        event_ms=ints("event_us", 0) // 1_000,
        family=events.family,
        weight=ints("weight", 1),
        content=content_hash(frame["content_id"].to_numpy(object)),
        page=content_hash(frame["page"].to_numpy(object)),
        format=np.asarray(formats.fillna(-1).mask(is_odd, OTHER_FORMAT), np.int64),
        step=frame["step"].fillna("").to_numpy(object),
        onboarding_ms=ints("onboarding_us", 0) // 1_000,
        target=content_hash(_targets(frame, events.family)),
    )


def _targets(frame: pd.DataFrame, family: NDArray[np.int64]) -> NDArray[np.object_]:
    """What an event was about: the field of a form error, else what was clicked; None where nothing says it."""
    none = np.full(len(frame), None, object)
    field, target = (frame[c].to_numpy(object) if c in frame else none for c in ("field", "target"))
    return np.where(family == FORM_ERROR, field, target)

"""Cleaned events: robots, internal users and refusals left out, names mapped to action families, formats to the closed
list, times made possible.

Pure and vectorized over an Arrow table of decoded events; the stream and the backfill both call it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.activity import Events
from feature_repo.applied import FROM_FILE, Source, message_hash
from feature_repo.distinct import content_hash
from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS
from pipelines.bounds import UNUSABLE
from pipelines.mapping import UNKNOWN, EventMapping, read_mapping
from pipelines.rules import REASONS, Rules

__all__ = ["CleanEvents", "EventMapping", "clean", "clean_profiles", "read_mapping", "to_events"]

FORM_ERROR = FAMILIES.index("form_error")
OTHER_FORMAT = FORMATS.index("other")
_FORMAT_CODES = {word: i for i, word in enumerate(FORMATS)}


@dataclass(frozen=True)
class CleanEvents:
    """Events of one batch in order of arrival, with the columns the fold needs.

    frame
        One row per event: user_id, message_id, name, event_us, received_us, is_clamped, weight, content_id, format,
        page, step, onboarding_us and, from Kafka, topic_id, partition, offset.
    family
        Shape (n_events,), index into FAMILIES or NOT_COUNTED.
    counts
        n_dropped_bot, n_dropped_internal, n_dropped_consent: events left out. Of those that are here: n_clamped, whose
        time lay in the future, n_unusable_onboarding, whose start of the onboarding is no possible time and is left
        out, and n_unknown, whose name nobody mapped.
    """

    frame: pd.DataFrame
    family: NDArray[np.int64]
    counts: Mapping[str, int] = field(default_factory=dict)

    def unknown_names(self) -> dict[str, int]:
        """How often each name occurs that nobody mapped."""
        is_unknown = self.family == UNKNOWN
        if not is_unknown.any():
            return {}
        found = self.frame["name"][is_unknown].value_counts()
        return {str(name): int(n) for name, n in found.items()}

    def counting(self, **more: int) -> "CleanEvents":
        """The same events, with counts added."""
        return replace(self, counts={**self.counts, **{name: self.counts.get(name, 0) + n for name, n in more.items()}})


def clean(table: pa.Table | pd.DataFrame, mapping: EventMapping, rules: Rules | None = None) -> CleanEvents:
    """Leave out whom the rules leave out, map names and formats, put impossible futures right: an event cannot happen
    after it was received.

    rules
        None: of people nobody has judged; spiders and who said no are left out.
    """
    frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    reason = (rules or Rules()).left_out(frame)
    if (reason >= 0).any():
        frame = frame[reason < 0]
    is_clamped = frame["event_us"] > frame["received_us"]
    if "is_clamped" in frame:  # the collector has done it before
        is_clamped |= frame["is_clamped"].eq(True)
    frame = frame.copy(deep=False)  # `assign` would copy every column
    frame["event_us"] = np.minimum(frame["event_us"], frame["received_us"])
    frame["is_clamped"] = is_clamped
    counts = {f"n_dropped_{name}": int((reason == i).sum()) for i, name in enumerate(REASONS)}
    if "onboarding_us" in frame:
        is_unusable = frame["onboarding_us"].eq(UNUSABLE)
        counts["n_unusable_onboarding"] = int(is_unusable.sum())
        if is_unusable.any():
            frame["onboarding_us"] = frame["onboarding_us"].mask(is_unusable)
    frame["format"] = mapping.formats_of(frame["format"])
    family = mapping.codes(frame["name"])
    counts |= {"n_clamped": int(is_clamped.sum()), "n_unknown": int((family == UNKNOWN).sum())}
    return CleanEvents(frame, family, counts)


def clean_profiles(frame: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Profiles without internal users'; what a CRM says is not asked for consent of tracking."""
    return frame[~rules.internal.among(frame)]


def to_events(events: CleanEvents, user: NDArray[np.int64]) -> Events:
    """The batch as `fold` takes it.

    user
        Shape (n_events,): row index of each event's user.
    """
    frame, n = events.frame, len(events.frame)

    def ints(column: str, default: int) -> NDArray[np.int64]:
        if column not in frame:
            return np.full(n, default, np.int64)
        if frame[column].dtype == np.int64:
            return frame[column].to_numpy()
        # Times with gaps pass through float64: µs of this century stay exact below 2**53.
        return np.asarray(pd.to_numeric(frame[column]).fillna(default), np.int64)

    formats = [_FORMAT_CODES.get(word, OTHER_FORMAT) if isinstance(word, str) else -1 for word in frame["format"]]
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
        format=np.array(formats, np.int64),
        step=frame["step"].fillna("").to_numpy(object),
        onboarding_ms=ints("onboarding_us", 0) // 1_000,
        target=content_hash(_targets(frame, events.family)),
    )


def _targets(frame: pd.DataFrame, family: NDArray[np.int64]) -> NDArray[np.object_]:
    """What an event was about: the field of a form error, else what was clicked; None where nothing says it."""
    none = np.full(len(frame), None, object)
    field, target = (frame[c].to_numpy(object) if c in frame else none for c in ("field", "target"))
    return np.where(family == FORM_ERROR, field, target)

"""Events with defaults, batches of them, and hypothesis strategies for histories and orders of arrival."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from feature_repo.activity import LATENESS_MS, NOT_COUNTED, Events, fold
from feature_repo.applied import FROM_FILE, Source, message_hash, pack_applied
from feature_repo.distinct import content_hash
from feature_repo.row import Rows, empty_rows, pack_rows, unpack_rows
from firstmile.names import FAMILIES
from firstmile.vocabulary import FORMATS

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
T0 = 1_380_585_600_000
"""2013-10-01T00:00Z in ms: a minute, hour and day edge."""
ID_WINDOW_MS = DAY


@dataclass(frozen=True)
class Event:
    """One event; `family` None is not counted, `received_us` None is one second after it happened."""

    at_ms: int = T0
    user: int = 0
    family: str | None = "page_view"
    weight: int = 1
    content: str = ""
    page: str = ""
    format: str | None = None
    step: str = ""
    onboarding_ms: int = 0
    target: str = ""
    message_id: str = ""
    received_us: int | None = None
    topic: str = "a"
    partition: int = FROM_FILE
    offset: int = 0

    @property
    def received(self) -> int:
        """received_at in µs."""
        return (self.at_ms + SECOND) * 1_000 if self.received_us is None else self.received_us


def with_ids(events: Sequence[Event]) -> list[Event]:
    """Each event under a message id of its own."""
    return [replace(e, message_id=f"m{i}") for i, e in enumerate(events)]


def batch(events: Sequence[Event]) -> Events:
    """The columns fold() takes, in the order given."""

    def ints(values: Sequence[int]) -> NDArray[np.int64]:
        return np.array(values, np.int64)

    source = Source(
        user=ints([e.user for e in events]),
        hash=message_hash([e.message_id for e in events]),
        received_us=ints([e.received for e in events]),
        topic=message_hash([e.topic for e in events]),
        partition=ints([e.partition for e in events]),
        offset=ints([e.offset for e in events]),
    )
    return Events(
        source,
        event_ms=ints([e.at_ms for e in events]),
        family=ints([NOT_COUNTED if e.family is None else FAMILIES.index(e.family) for e in events]),
        weight=ints([e.weight for e in events]),
        content=content_hash([e.content for e in events]),
        page=content_hash([e.page for e in events]),
        format=ints([-1 if e.format is None else FORMATS.index(e.format) for e in events]),
        step=np.array([e.step for e in events], object),
        onboarding_ms=ints([e.onboarding_ms for e in events]),
        target=content_hash([e.target for e in events]),
    )


def through_bytes(rows: Rows) -> Rows:
    """Rows as the store gives them back."""
    return unpack_rows(pack_rows(rows), pack_applied(rows.applied), rows.version_us)


def fold_batches(batches: Sequence[Sequence[Event]], *, n_users: int = 1, rows: Rows | None = None) -> Rows:
    """Rows after the batches one by one, packed and unpacked between them."""
    rows = empty_rows(n_users) if rows is None else rows
    for events in batches:
        rows = through_bytes(fold(rows, batch(events))[0])
    return rows


def fold_one(events: Sequence[Event], **columns: int) -> Rows:
    """Rows of one user or `n_users` after one batch."""
    return fold_batches([events], **columns)


def examples(n: int) -> settings:
    """n examples of a property, on a machine that may be busy."""
    return settings(max_examples=n, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# The gaps are where rules change: tile widths, the session gap, the lateness bound, the spans kept.
GAPS_MS = (
    0,
    1,
    SECOND,
    2 * SECOND,
    MINUTE - 1,
    3 * MINUTE,
    MINUTE,
    29 * MINUTE,
    30 * MINUTE,
    30 * MINUTE + 1,
    HOUR,
    2 * HOUR,
    5 * HOUR,
)
LONG_GAPS_MS = (*GAPS_MS, DAY, 2 * DAY, 8 * DAY, 31 * DAY, 400 * DAY)
DELAYS_MS = (0, 1, MINUTE, HOUR, LATENESS_MS - 1, LATENESS_MS)
AGAIN_MS = (0, SECOND, HOUR, 5 * HOUR, ID_WINDOW_MS - 1)


KINDS = (
    *("content_open", "content_complete", "page_view", "error", "unknown", None),
    *("click", "click", "click", "form_error", "form_error", "step_start", "step_complete", "step_skip"),
)


@st.composite
def histories(draw: st.DrawFn, *, max_size: int = 30, n_users: int = 1) -> list[Event]:
    """Events of n users in the order they happened, each with its own message id."""
    kinds = st.tuples(
        st.sampled_from(LONG_GAPS_MS),
        st.sampled_from(KINDS),
        st.sampled_from((0, 1, 1, 2, 300, 2**40)),
        st.sampled_from(("", "c1", "c2", "c3")),
        st.sampled_from((None, *FORMATS[:3])),
        st.sampled_from(("", "", "sign_up", "invité", "z" * 70)),
        st.sampled_from((0, 0, T0 - DAY, T0 + 1)),
        st.sampled_from(("", "save", "save", "e-mail")),
        st.integers(0, n_users - 1),
    )
    at_ms = T0 + draw(st.sampled_from((0, 1, MINUTE - 1, 13 * HOUR + 7)))
    events = []
    drawn = draw(st.lists(kinds, min_size=1, max_size=max_size))
    for gap, family, weight, name, form, step, onboarding, target, user in drawn:
        at_ms += gap
        thing = {"content": name} if family != "page_view" else {"page": name}
        about = {"onboarding_ms": onboarding, "target": target}
        events.append(Event(at_ms, user, family, weight, format=form, step=step, **about, **thing))
    return with_ids(events)


@st.composite
def arrivals(draw: st.DrawFn, history: Sequence[Event]) -> list[Event]:
    """The history as it may arrive: each event up to L behind any that overtakes it, then perhaps again within 24 h.

    Sorting by time plus a delay of at most L gives every order in which an event is at most L behind the greatest
    time seen, and `received_at` never runs back.
    """
    deliveries = []
    for event in history:
        first = draw(st.sampled_from(DELAYS_MS))
        again = draw(st.lists(st.sampled_from(AGAIN_MS), max_size=2))
        deliveries += [(event.at_ms + d, event) for d in (first, *(first + a for a in again if first + a < DAY))]
    shuffled = draw(st.permutations(deliveries))
    return [replace(e, received_us=at_ms * 1_000) for at_ms, e in sorted(shuffled, key=lambda d: d[0])]


@st.composite
def splits(draw: st.DrawFn, events: Sequence[Event]) -> list[list[Event]]:
    """The events cut into consecutive batches, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(events)), max_size=5)))
    edges = [0, *cuts, len(events)]
    return [list(events[a:b]) for a, b in pairwise(edges)]

"""Decisions joined with what the user then did: one closed example per decision, once. Pure: facts in, examples out.

An example is positive when the user opened a recommended content within the window after the decision.
`personalization.outcomes` tells only what was shown, so the opens come from `onboarding.enriched`: every event of the
family `content_open`, matched by user and content. That counts an open the user would have made anyway, and one made
through another page.

    decided_us          + window              + lateness
        |---- opens count ----|--- still on their way ---|  closes: learned, positive or negative
"""

import heapq
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

COUNTS: Final = ("n_duplicates", "n_late", "n_late_opens", "n_closed_early", "n_opens_let_go")
_DERIVED: Final = ("_closing", "_opens_by_time")


@dataclass(frozen=True)
class Shown:
    """A decision that can be learned from.

    ranking
        content_id of what was recommended.
    vector
        Shape (n_features,): what the models read, NaN = not known.
    """

    request_id: str
    user_id: str
    decided_us: int
    ranking: tuple[str, ...]
    vector: "array[float]"


@dataclass(frozen=True)
class Opened:
    """A user opened a content item; `received_us` is when we had it."""

    user_id: str
    content_id: str
    event_us: int
    received_us: int


@dataclass(frozen=True)
class Example:
    """A decision whose window has closed."""

    request_id: str
    vector: "array[float]"
    is_opened: bool


@dataclass(frozen=True)
class Bounds:
    """How long is waited and how much is kept.

    window_us, lateness_us
        How long after a decision an open counts, and how much later than it happened it may be received.
    max_open
        Decisions waiting for their window to close; past it the oldest closes early.
    max_opens
        Content opens kept for decisions; past it the oldest is let go.
    max_seen
        Closed decisions remembered by request_id.
    """

    window_us: int
    lateness_us: int
    max_open: int
    max_opens: int
    max_seen: int

    @property
    def wait_us(self) -> int:
        """From decision to close."""
        return self.window_us + self.lateness_us


@dataclass
class Joiner:
    """What is open, and what came of the rest.

    For facts within the bounds the examples and their order are the same for any order of arrival, any repeats and any
    split into batches: an example depends on the facts alone, and examples close in the order of (close, request_id).
    What lies beyond the bounds is counted: `n_late` came after its window had closed (a repeat too old to be known as
    one, or too late to be labelled), `n_late_opens` may have missed its decision, `n_closed_early`, `n_opens_let_go`.
    """

    bounds: Bounds
    counts: "Counter[str]" = field(default_factory=Counter)
    watermark_us: int = 0
    _open: dict[str, Shown] = field(default_factory=dict)
    _closing: list[tuple[int, str]] = field(default_factory=list)
    _opens: "dict[str, deque[Opened]]" = field(default_factory=dict)
    _opens_by_time: list[tuple[int, str]] = field(default_factory=list)
    _seen: dict[str, None] = field(default_factory=dict)
    _early: list[Example] = field(default_factory=list)

    @property
    def n_open(self) -> int:
        """Decisions waiting for their window to close."""
        return len(self._open)

    @property
    def n_opens(self) -> int:
        """Content opens kept."""
        return len(self._opens_by_time)

    @property
    def n_users(self) -> int:
        """Users of whom opens are kept."""
        return len(self._opens)

    @property
    def n_seen(self) -> int:
        """Closed decisions remembered."""
        return len(self._seen)

    def all_counts(self) -> dict[str, int]:
        """What lay beyond the bounds, by name."""
        return {name: self.counts[name] for name in COUNTS}

    def decided(self, shown: Shown) -> None:
        """Take in a decision; one that was taken in before, or comes after its window closed, is counted."""
        closes_us = shown.decided_us + self.bounds.wait_us
        if shown.request_id in self._open or shown.request_id in self._seen:
            self.counts["n_duplicates"] += 1
        elif closes_us <= self.watermark_us:
            self.counts["n_late"] += 1
        else:
            self._open[shown.request_id] = shown
            heapq.heappush(self._closing, (closes_us, shown.request_id))
            while self.n_open > self.bounds.max_open:
                self.counts["n_closed_early"] += 1
                self._early.append(self._close_oldest())

    def opened(self, opened: Opened) -> None:
        """Take in an open; it may come before the decision it belongs to."""
        self.counts["n_late_opens"] += opened.event_us + self.bounds.lateness_us < self.watermark_us
        if opened.event_us + self.bounds.wait_us <= self.watermark_us:
            return  # every decision it could belong to has closed
        self._opens.setdefault(opened.user_id, deque()).append(opened)
        heapq.heappush(self._opens_by_time, (opened.event_us, opened.user_id))
        while self.n_opens > self.bounds.max_opens:
            self.counts["n_opens_let_go"] += 1
            self._let_go_oldest()

    def close(self, watermark_us: int) -> list[Example]:
        """The examples that close at this watermark: every fact received before it has been taken in."""
        self.watermark_us = max(self.watermark_us, watermark_us)
        closed, self._early = self._early, []
        while self._closing and self._closing[0][0] <= self.watermark_us:
            closed.append(self._close_oldest())
        while self._opens_by_time and self._opens_by_time[0][0] + self.bounds.wait_us <= self.watermark_us:
            self._let_go_oldest()
        return closed

    def __getstate__(self) -> dict[str, Any]:
        """As plain tuples: a snapshot of them takes a quarter of the time and the heaps follow from them."""
        plain = {name: value for name, value in vars(self).items() if name not in _DERIVED}
        shown = [(s.request_id, s.user_id, s.decided_us, s.ranking, s.vector.tobytes()) for s in self._open.values()]
        kept = [(o.user_id, o.content_id, o.event_us, o.received_us) for of in self._opens.values() for o in of]
        return {**plain, "_open": shown, "_opens": kept}

    def __setstate__(self, plain: dict[str, Any]) -> None:
        shown = [
            Shown(request_id, user_id, decided_us, ranking, array("d", vector))
            for request_id, user_id, decided_us, ranking, vector in plain.pop("_open")
        ]
        kept = [Opened(*fields) for fields in plain.pop("_opens")]
        vars(self).update(plain, _open={each.request_id: each for each in shown}, _opens={})
        self._closing = [(each.decided_us + self.bounds.wait_us, each.request_id) for each in shown]
        self._opens_by_time = [(each.event_us, each.user_id) for each in kept]
        for each in kept:
            self._opens.setdefault(each.user_id, deque()).append(each)
        heapq.heapify(self._closing)
        heapq.heapify(self._opens_by_time)

    def _close_oldest(self) -> Example:
        closes_us, request_id = heapq.heappop(self._closing)
        shown = self._open.pop(request_id)
        self._seen[request_id] = None
        if len(self._seen) > self.bounds.max_seen:
            del self._seen[next(iter(self._seen))]
        until_us = shown.decided_us + self.bounds.window_us
        is_opened = any(
            shown.decided_us <= o.event_us <= until_us and o.received_us <= closes_us and o.content_id in shown.ranking
            for o in self._opens.get(shown.user_id, ())
        )
        return Example(request_id, shown.vector, is_opened)

    def _let_go_oldest(self) -> None:
        event_us, user_id = heapq.heappop(self._opens_by_time)
        kept = self._opens[user_id]
        kept.remove(next(o for o in kept if o.event_us == event_us))
        if not kept:
            del self._opens[user_id]

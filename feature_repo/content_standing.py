"""How the content of a shelf stands at an instant, by the content statistics known then: the same for all its users.

The items of a shelf (a course, a catalogue) stand in catalogue order. A standing depends on shelf and instant alone, so
serving makes it once per refresh of the statistics. First half of what the content ranker sees; see content_features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.content_segments import Counts
from feature_repo.packing import Ints
from firstmile.names import STAGES
from firstmile.vocabulary import FORMATS

Floats = NDArray[np.float64]

FEEDBACK_WEIGHT: Final = 5.0
"""Openings that one "helpful" adds to an item's popularity and one "unhelpful" takes away. Chosen by hand: the
demo's data has no feedback to learn it from. An opening may be curiosity, a verdict is rarer and says more."""
STAGE_PRIOR: Final = 50.0
"""Openings, spread as all users' are, that a stage's own are mixed with: a stage few have reached says what all say."""
RECENT_DAYS: Final = (1, 7)
"""Spans of recent openings: a course moves on, and what was opened most in all is what it has left behind."""


ITEM_FEATURES: Final = (
    "popularity",
    *(f"popularity_{days}d" for days in RECENT_DAYS),
    "clicks_per_opening",
    "completions_per_opening",
    "openings_per_showing",
    "skips_per_showing",
    "format",
    "position",
)


@dataclass(frozen=True)
class Standing:
    """Columns of a shelf's items, in catalogue order; NaN = not known.

    format
        Shape (n_items,): index into FORMATS.
    popularity
        Shape (n_items,): share of the shelf's openings, feedback counted in; NaN when nothing was opened.
    in_stage
        Shape (n_stages, n_items): the same among users of each stage of STAGES.
    recent
        Shape (n_spans, n_items): share of the shelf's openings in the last days, by RECENT_DAYS.
    rates
        Shape (4, n_items): clicks per opening, completions per opening, openings per showing, skips per showing.
    """

    format: Ints
    popularity: Floats
    in_stage: Floats
    recent: Floats
    rates: Floats

    @property
    def n_items(self) -> int:
        """Number of items on the shelf."""
        return len(self.format)

    @cached_property
    def position(self) -> Floats:
        """Place of each item in the catalogue, 0 first, 1 last; shape (n_items,)."""
        return np.arange(self.n_items) / max(self.n_items - 1, 1)

    @cached_property
    def columns(self) -> NDArray[np.float32]:
        """What the ranker sees of each item whoever asks, shape (n_items, n_features) in the order of ITEM_FEATURES."""
        each = [self.popularity, *self.recent, *self.rates, self.format, self.position]
        return np.stack(each, axis=1).astype(np.float32)

    @cached_property
    def by_popularity(self) -> Ints:
        """The items, most popular first, ties in catalogue order; shape (n_items,)."""
        return np.argsort(-np.nan_to_num(self.popularity), kind="stable")

    @cached_property
    def is_format(self) -> Floats:
        """Shape (n_items, n_formats): 1 for the item's format, else 0."""
        return np.eye(len(FORMATS))[self.format]


def standing(
    format: Ints, counts: Mapping[str, Floats], *, opened_in_stage: Floats, opened_earlier: Mapping[int, Floats]
) -> Standing:
    """How a shelf stands.

    format
        Shape (n_items,): index into FORMATS.
    counts
        By name (CONTENT_COUNTS), shape (n_items,): totals over all segments; 0 for an item without statistics.
    opened_in_stage
        Shape (n_stages, n_items): n_opened by the stage part of the segment, over all skill levels: training knows no
        level, and a level that serving has guessed would be looked up among counts that never had one.
    opened_earlier
        n_opened as it was known so many days (RECENT_DAYS) before the instant, shape (n_items,); NaN = not known.
    """
    opened, shown = counts["n_opened"], counts["n_shown"]
    verdicts = FEEDBACK_WEIGHT * (counts["n_helpful"] - counts["n_unhelpful"])
    popularity = shares(np.maximum(opened + verdicts, 0.0))
    rates = (
        ratio(counts["opened_weight"], opened),
        ratio(counts["n_completed"], opened),
        ratio(opened, shown),
        ratio(counts["n_skipped"], shown),
    )
    return Standing(
        format,
        popularity,
        shares(opened_in_stage + STAGE_PRIOR * popularity),
        np.array([shares(opened - opened_earlier[days]) for days in RECENT_DAYS]),
        np.array(rates),
    )


def counts_in_stage(by_segment: Sequence[Mapping[str, Counts]], name: str) -> Floats:
    """A count of each item by the stage part of its segments, shape (n_stages, n_items).

    by_segment
        Of each item, as `content_segments.unpack_segments` gives it.

    name
        One of CONTENT_COUNTS.

    >>> both = {"unknown/new": {"n_opened": 2}, "beginner/new": {"n_opened": 1}}
    >>> counts_in_stage([both, {}], "n_opened")[STAGES.index("new")]
    array([3., 0.])
    """
    out = np.zeros((len(STAGES), len(by_segment)))
    for item, segments in enumerate(by_segment):
        for segment, counts in segments.items():
            stage = segment.rpartition("/")[2]
            if stage in STAGES:  # "" is of events enriched before segments were
                out[STAGES.index(stage), item] += counts[name]
    return out


def shares(values: Floats) -> Floats:
    """Each value's share of the sum over the last axis; NaN when the sum is 0 or not known.

    >>> shares(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [nan, nan]]
    """
    return ratio(values, values.sum(axis=-1, keepdims=True))


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where whole is 0 or not known."""
    out = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out

"""Thompson sampling over content formats: in its arm, a format comes first as often as it may well be the best one.

What is known of a format in a stage is how often its content was shown there and how often then opened; how likely an
open is then follows a Beta distribution, and the chance that a format's is the greatest is the chance with which it is
drawn. So what does well is shown more, and what is not known yet is still tried. A user draws one format a day, and the
chance it was drawn with is in the decision log: whoever evaluates other policies on this data needs it.
Source: W. R. Thompson, "On the likelihood that one unknown probability exceeds another", Biometrika, 1933; O. Chapelle,
L. Li, "An Empirical Evaluation of Thompson Sampling", 2011.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from feature_repo.content_features import STAGE_INPUTS
from feature_repo.stage import stages
from firstmile.clock import MICROS_PER_DAY
from firstmile.names import FORMATS, STAGES
from serving.buckets import N_PLACES, place
from serving.catalogue import Catalogue, Floats, Shelf
from serving.facts import Facts
from serving.order import Order

DRAWN: Final = "thompson"
"""With the format behind a colon: the reason of what a draw brought."""
N_DRAWS: Final = 4_000
"""The chances that come of them are those that are drawn with: more draws make them smoother, not truer."""
SEED: Final = 7


@dataclass(frozen=True)
class FormatOdds:
    """Chances of a shelf's formats to be the best, by stage.

    formats
        Index into FORMATS, shape (n_formats,).
    chance
        Shape (n_stages, n_formats), each row's sum is 1.
    """

    formats: tuple[int, ...]
    chance: Floats


Odds = Callable[[Catalogue], Mapping[str, FormatOdds]]
"""The chances now of a catalogue's shelves, by cohort."""


def format_odds(shelf: Shelf, shown: Floats, opened: Floats) -> FormatOdds:
    """Chances by what was counted.

    shown, opened
        Shape (n_stages, n_items). An open of what was not shown says nothing of showing it.
    """
    codes = np.unique(shelf.format)

    def by_format(counts: Floats) -> Iterator[tuple[float, ...]]:
        sums = np.stack([counts[:, shelf.format == code].sum(axis=1) for code in codes], axis=1)
        yield from map(tuple, sums.tolist())

    each = zip(by_format(np.minimum(opened, shown)), by_format(shown), strict=True)
    return FormatOdds(tuple(codes.tolist()), np.array([chances(*counts) for counts in each]))


@lru_cache(maxsize=256)
def chances(opened: tuple[float, ...], shown: tuple[float, ...]) -> tuple[float, ...]:
    """Of each format, that its probability of an open is the greatest, by how often it was opened and shown; every
    probability was as likely before.

    >>> chances((90.0, 10.0), (100.0, 100.0))
    (1.0, 0.0)
    """
    n_opened, n_shown = np.array(opened), np.array(shown)
    drawn = np.random.default_rng(SEED).beta(1 + n_opened, 1 + n_shown - n_opened, (N_DRAWS, len(opened)))
    best = np.bincount(drawn.argmax(axis=1), minlength=len(opened)) / N_DRAWS
    return tuple(best.tolist())


def drawn_order(odds: FormatOdds | None, shelf: Shelf, facts: Facts, *, user_id: str, now_us: int) -> Order:
    """The shelf's items of the format that this user draws today, before all others; among themselves as they came in
    `facts.order`.

    odds
        None: nothing was counted, every format of the shelf is as likely.
    """
    nothing = np.zeros((len(STAGES), len(shelf.items)))
    known = odds or format_odds(shelf, nothing, nothing)
    chance = known.chance[_stage(facts)]
    # Until midnight UTC a user keeps his place; the format changes only where the chances move past it.
    at = (place(f"{DRAWN}/{now_us // MICROS_PER_DAY}", user_id) + 0.5) / N_PLACES
    choice = int(np.searchsorted(np.cumsum(chance), at).clip(max=len(chance) - 1))
    code = known.formats[choice]
    items = np.flatnonzero(shelf.format == code)
    before = np.zeros(len(shelf.items), np.float32)
    if facts.order is not None:
        before[facts.order.items] = facts.order.scores
    return Order(items, before[items], f"{DRAWN}:{FORMATS[code]}", float(chance[choice]))


def _stage(facts: Facts) -> int:
    known = (facts.features.get(name) for name in STAGE_INPUTS)
    return int(stages(*(np.array([np.nan if value is None else value]) for value in known))[0])

"""What rules go over: an order of a shelf that was learned or counted (the ranker's, or what is popular), and a format
that was drawn to come before it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.catalogue import Floats, Ints

RANKED: Final = "model:content_ranker"
"""The reason of what the ranker brought."""
POPULAR: Final = "popular"
"""With the stage behind a colon: the reason of what users of this stage open most."""


DRAWN: Final = "thompson"
"""With the format behind a colon: the reason of what comes first because its format was drawn."""


@dataclass(frozen=True)
class Draw:
    """A format whose items come before all others that rules say the same of; see format_odds.py.

    propensity
        The chance with which it was drawn, in (0, 1].
    """

    format: str
    propensity: float


@dataclass(frozen=True, eq=False)
class Order:
    """Some items of a shelf, by how good they are; the others come after them.

    items
        Shape (n_items,): index into the shelf.
    scores
        Shape (n_items,), in [0, 1]: higher comes first. 32 bits, as the decision log keeps them.
    reason
        Why, for whoever is shown them.
    """

    items: Ints
    scores: NDArray[np.float32]
    reason: str

    def over(self, fits: Floats) -> Floats:
        """The fits of all items of the shelf with these before the others, in [0, 1], shape (n_shelf,).

        >>> order = Order(np.array([1]), np.array([0.5], np.float32), RANKED)
        >>> order.over(np.array([1.0, 0.2])).tolist()
        [0.5, 0.75]
        """
        out = fits / 2.0
        out[self.items] = (1.0 + self.scores.astype(np.float64)) / 2.0
        return out

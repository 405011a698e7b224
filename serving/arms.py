"""Arms: what answers in one, and which places of the experiment's line it has.

    |first ──►        |second ──►        |           ◄── last|
    0                                                    N_PLACES

Each begins where no other arm will come, and grows at its end into room that nobody has: so a share that grows, by a
dated step or by a hand that edits it, takes in users that were in no arm and moves none between arms.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from firstmile.names import CHALLENGER, CHAMPION, ONLINE_MODEL
from firstmile.vocabulary import MODELS
from serving.buckets import N_PLACES

DEFAULT_FLOW: Final = "default_flow"
RULES: Final = "rules"
ONLINE_LEARNER: Final = "online_learner"
THOMPSON: Final = "thompson"
KINDS: Final[Mapping[str, str]] = {
    DEFAULT_FLOW: "default",
    RULES: "rules",
    CHAMPION: "model",
    CHALLENGER: "model",
    ONLINE_LEARNER: "model",
    THOMPSON: "model",
}
"""What an arm can be, and the rung its answers are meant to come from."""


def tasks_of(kind: str, learned: Collection[str] = MODELS) -> tuple[str, ...]:
    """The models an arm of this kind asks, where it asks any: of those the product has.

    >>> tasks_of("champion", ["activation"]), tasks_of("online_learner", ["activation"])
    (('activation',), ('activation', 'content_open'))
    """
    return (*(m for m in MODELS if m in learned), *((ONLINE_MODEL,) if kind == ONLINE_LEARNER else ()))


@dataclass(frozen=True)
class Step:
    """From a moment on (µs since epoch, UTC), how many places an arm has."""

    from_us: int
    n_places: int


@dataclass(frozen=True)
class Arm:
    """One arm; `edge` is the end of its stretch that stays, and it grows from there, down when it is the last.

    steps
        In order of time, growing; at least one.
    """

    name: str
    kind: str
    steps: tuple[Step, ...]
    edge: int = 0
    grows_down: bool = False

    def places(self, now_us: int) -> range:
        """The places it has at a moment; none before its first step."""
        n = max((step.n_places for step in self.steps if step.from_us <= now_us), default=0)
        return range(self.edge - n, self.edge) if self.grows_down else range(self.edge, self.edge + n)

    def all_places(self) -> range:
        """The places it has after its last step."""
        return self.places(self.steps[-1].from_us)


def laid_out(arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
    """The arms at their edges; their shares add up to 1 at most before they are rounded to places.

    The first grows up from 0, the last down from N_PLACES. One in between begins where it would if the largest shares
    were stretched to fill the line: there is room for each to grow, and growing all in proportion moves no edge.
    """
    arms = _fitting(arms)
    sizes = [arm.steps[-1].n_places for arm in arms]
    total = sum(sizes)
    placed = []
    for at, arm in enumerate(arms):
        is_last = 0 < at == len(arms) - 1
        edge = N_PLACES if is_last else sum(sizes[:at]) * N_PLACES // total
        placed.append(replace(arm, edge=edge, grows_down=is_last))
    return tuple(placed)


def _fitting(arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
    """The arms without the places that rounding made of them beyond N_PLACES: the largest have one less each."""
    sizes = [arm.steps[-1].n_places for arm in arms]
    largest = sorted(range(len(arms)), key=lambda at: -sizes[at])[: max(sum(sizes) - N_PLACES, 0)]
    return tuple(_at_most(arm, sizes[at] - 1) if at in largest else arm for at, arm in enumerate(arms))


def _at_most(arm: Arm, n_places: int) -> Arm:
    return replace(arm, steps=tuple(replace(step, n_places=min(step.n_places, n_places)) for step in arm.steps))


def overlap(a: range, b: range) -> bool:
    """Whether two stretches share a place.

    >>> overlap(range(0, 5), range(4, 6)), overlap(range(0, 5), range(5, 6)), overlap(range(3, 3), range(0, 5))
    (True, False, False)
    """
    return bool(a) and bool(b) and a.start < b.stop and b.start < a.stop

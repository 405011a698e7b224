"""Which arm of which experiment a user is in: drawn from the user's id, before anything is read or shed.

An experiment has a line of N_PLACES places on which every user stands at one (buckets.py), and arms take stretches of
it (arms.py). The holdout is drawn from a line of its own: the same users whatever experiments come and go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from firstmile.names import CHALLENGER, CHAMPION
from serving.arms import KINDS, Arm
from serving.buckets import N_PLACES, place
from serving.conditions import Condition

HOLDOUT: Final = "holdout"
"""Experiment and arm of the users held out; also the seed of their line, so it must never change."""


@dataclass(frozen=True)
class Assignment:
    """The arm of a user.

    name
        The experiment; None for users in none.
    kind
        What answers, one of KINDS.
    propensity
        The probability, in (0, 1], that a user who asked this is in this arm now.
    is_shadowed
        Whether the challenger says, unseen, what it would have said.
    """

    name: str | None
    arm: str
    kind: str = CHAMPION
    propensity: float = 1.0
    is_shadowed: bool = False

    @property
    def intended_rung(self) -> str:
        """The rung its answers are meant to come from."""
        return KINDS[self.kind]


@dataclass(frozen=True)
class Experiment:
    """Arms for the users whose request `when` holds of, drawn from the line of `seed`."""

    name: str
    seed: str
    when: Condition
    arms: tuple[Arm, ...]
    is_shadowed: bool = False

    def assign(self, user_id: str, *, now_us: int, rest: float) -> Assignment:
        """The user's arm at a moment; `rest` is the probability of not being held out. Outside all arms: champion."""
        at = place(self.seed, user_id)
        n_taken = 0
        for arm in self.arms:
            places = arm.places(now_us)
            if at in places:
                return Assignment(self.name, arm.name, arm.kind, rest * len(places) / N_PLACES, self.is_shadowed)
            n_taken += len(places)
        return Assignment(None, CHAMPION, propensity=rest * (N_PLACES - n_taken) / N_PLACES)


@dataclass(frozen=True)
class Holdout:
    """Users kept out of every experiment for good, to measure all of them together."""

    kind: str
    n_places: int


@dataclass(frozen=True)
class Experiments:
    """Everything experiments.yaml says."""

    experiments: tuple[Experiment, ...] = ()
    holdout: Holdout | None = None

    def assign(self, user_id: str, request: Mapping[str, str], *, now_us: int) -> Assignment:
        """The user's arm: of the first experiment whose condition holds of what the request says."""
        rest = 1.0
        if self.holdout is not None:
            share = self.holdout.n_places / N_PLACES
            if place(HOLDOUT, user_id) < self.holdout.n_places:
                return Assignment(HOLDOUT, HOLDOUT, self.holdout.kind, share)
            rest -= share
        view = {"request": request}
        for experiment in self.experiments:
            if experiment.when.holds(view):
                return experiment.assign(user_id, now_us=now_us, rest=rest)
        return Assignment(None, CHAMPION, propensity=rest)

    def kinds(self) -> frozenset[str]:
        """Every kind whose models an arm or a shadow asks."""
        shadows = {CHALLENGER for e in self.experiments if e.is_shadowed}
        return frozenset(arm.kind for e in self.experiments for arm in e.arms) | shadows

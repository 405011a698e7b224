"""A change of the experiments while they run: what it may do to users who are in an arm.

Nobody goes from one arm to another, nor out of an experiment that goes on. Users may join from no arm, and leave one
that shrinks or ends; an experiment that is taken out, or given another name or seed, is over, and its users are drawn
anew.

Only the two files are held against each other, nothing is remembered: workers of any age that have the same file give a
user the same arm.
"""

from typing import Final

from serving.arms import overlap
from serving.conditions import Condition
from serving.experiments import Experiment, Experiments

WAYS_OUT: Final = (
    "let all shares grow in proportion (dated steps do), make an arm small by steps that end at its old share "
    "(share: [{from: 2020-01-01, share: 0.05}, {from: 2099-01-01, share: 0.2}]), or give the experiment another name "
    "or seed to draw its users anew"
)


def objection(before: Experiments, after: Experiments, *, now_us: int) -> str | None:
    """Why `after` may not take the place of `before`, and what to do; None when it may."""
    if before.holdout and after.holdout and before.holdout.n_places != after.holdout.n_places:
        return "the share of the holdout changed, which is for good; leave it, or take it out"
    on = [(was, now) for was, now in _same(before, after) if _is_running(was, now_us)]
    if after.holdout and not before.holdout and on:
        names = ", ".join(now.name for _, now in on)
        return f"a holdout would take users out of the arms of {names}; give these other names, or take them out"
    for was, now in on:
        if (arms := moved(was, now, now_us=now_us)) is not None:
            return f"users of {was.name} would move from arm {arms[0]} to arm {arms[1]}; {WAYS_OUT}"
        if (arm := _exchanged(was, now, now_us)) is not None:
            return f"arm {arm} of {was.name} would be of other users than it is; {WAYS_OUT}"
        if not _is_same(was.when, now.when):
            return f"`when` of {was.name} changed while it runs; give it another name to ask others"
    for was, _ in on:
        if (taker := _taker(was, before, after)) is not None:
            return (
                f"{taker} stands before {was.name} and would take users out of its arms; put it behind, give the two "
                f"values of one field in `when` that exclude each other, or give {was.name} another name"
            )
    return None


def moved(was: Experiment, now: Experiment, *, now_us: int) -> tuple[str, str] | None:
    """(old arm, new arm) of users who are in one arm now and would be in another, ever; None when nobody is."""
    for old in was.arms:
        for new in now.arms:
            if old.name != new.name and overlap(old.places(now_us), new.all_places()):
                return old.name, new.name
    return None


def _same(before: Experiments, after: Experiments) -> list[tuple[Experiment, Experiment]]:
    """The experiments that go on, as they were and as they are."""
    found = {(e.name, e.seed): e for e in after.experiments}
    return [(e, found[e.name, e.seed]) for e in before.experiments if (e.name, e.seed) in found]


def _is_running(experiment: Experiment, now_us: int) -> bool:
    return any(arm.places(now_us) for arm in experiment.arms)


def _exchanged(was: Experiment, now: Experiment, now_us: int) -> str | None:
    """The arm that would lose users other than by shrinking: its stretch of the line would stand elsewhere."""
    arms = {arm.name: arm.all_places() for arm in now.arms}
    for old in was.arms:
        had, has = old.places(now_us), arms.get(old.name, range(0))
        n_kept = len(range(max(had.start, has.start), min(had.stop, has.stop)))
        if n_kept < min(len(had), len(has)):
            return old.name
    return None


def _is_same(one: Condition, other: Condition) -> bool:
    """Whether two conditions say the same, in whatever order."""
    return frozenset(one.checks) == frozenset(other.checks) and frozenset(one.alternatives) == frozenset(
        other.alternatives
    )


def _taker(was: Experiment, before: Experiments, after: Experiments) -> str | None:
    """The experiment that stands before this one now and did not, unless what it asks for surely excludes it."""
    ahead = [e.when for e in before.experiments[: before.experiments.index(was)]]
    for new in after.experiments:
        if (new.name, new.seed) == (was.name, was.seed):
            return None
        if not any(_is_same(new.when, when) for when in ahead) and not new.when.excludes(was.when):
            return new.name
    return None

"""Why and how a training run differs from the plain one."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """What `firstmile retrain` asks of training.

    because
        The reason, a tag of each run.
    reweigh
        The audited attribute whose groups × labels are weighed evenly; models that are not of one label go without.
    is_gated
        Whether a version that a gate refuses stays without the alias `challenger`.
    n_trials
        How many parameters to try in search of better ones than the recipe's; 0: none, the recipe is taken.
    parameters
        Of a run that is made once more: they go over the recipe.
    """

    because: str = "asked for"
    reweigh: str | None = None
    is_gated: bool = False
    n_trials: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)


PLAIN = Plan()

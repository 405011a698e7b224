"""Why and how a training run differs from the plain one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What `firstmile retrain` asks of training.

    because
        The reason, a tag of each run.
    reweigh
        The audited attribute whose groups × labels are weighed evenly; models that are not of one label go without.
    is_gated
        Whether a version that a gate refuses stays without the alias `challenger`.
    """

    because: str = "asked for"
    reweigh: str | None = None
    is_gated: bool = False


PLAIN = Plan()

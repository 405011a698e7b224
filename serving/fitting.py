"""Which models can be asked about a user, and why the others cannot."""

from collections.abc import Mapping, Sequence, Set
from typing import Final

from firstmile.names import OPTIONAL
from firstmile.vocabulary import MODELS
from serving.facts import Facts
from serving.features import views_of
from serving.models import ScoringModel

COLD_START: Final = "cold_start"
OUT_OF_POPULATION: Final = "out_of_population"


def is_as_meant(reason: str) -> bool:
    """Whether a reason says that a model is not for this user, so that an answer without it is whole.

    >>> is_as_meant("cold_start:activation"), is_as_meant("out_of_population:activation"), is_as_meant("model_late:x")
    (True, True, False)
    """
    return reason.partition(":")[0] in (COLD_START, OUT_OF_POPULATION)


def fitting(
    models: Mapping[str, ScoringModel],
    facts: Facts,
    missing_views: frozenset[str],
    *,
    tasks: Sequence[str] = MODELS,
    not_asked: Set[str] = frozenset(),
) -> tuple[list[ScoringModel], list[str]]:
    """The models of these tasks that can be asked about this user, and why the others cannot.

    A model is not asked about onboardings younger than it was trained on, nor without a feature view it was not gated
    without, nor about people outside its population (`not_asked`).
    """
    age_days = facts.features.get("onboarding_age_days")
    asked, reasons = [], []
    for name in tasks:
        model = models.get(name)
        if model is None:
            reasons += [] if name in OPTIONAL else [f"model_missing:{name}"]
        elif age_days is None or age_days < model.min_onboarding_days:
            reasons.append(f"{COLD_START}:{name}")
        elif name in not_asked:
            reasons.append(f"{OUT_OF_POPULATION}:{name}")
        elif lacking := (missing_views & views_of(model.features)) - model.gated_without:
            reasons.append(f"{min(lacking)}_missing:{name}")
        else:
            asked.append(model)
    if not {*tasks} & models.keys():
        reasons = ["no_model"]
    elif not asked and all(reason.startswith(COLD_START) for reason in reasons):
        reasons = [COLD_START]
    return asked, reasons

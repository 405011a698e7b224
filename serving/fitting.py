"""Which models can be asked about a user, and why the others cannot."""

from collections.abc import Mapping, Sequence

from firstmile.names import MODELS, OPTIONAL
from serving.facts import Facts
from serving.features import views_of
from serving.models import ScoringModel


def fitting(
    models: Mapping[str, ScoringModel], facts: Facts, missing_views: frozenset[str], *, tasks: Sequence[str] = MODELS
) -> tuple[list[ScoringModel], list[str]]:
    """The models of these tasks that can be asked about this user, and why the others cannot.

    A model is not asked about onboardings younger than it was trained on, nor without a feature view it was not gated
    without.
    """
    age_days = facts.features.get("onboarding_age_days")
    asked, reasons = [], []
    for name in tasks:
        model = models.get(name)
        if model is None:
            reasons += [] if name in OPTIONAL else [f"model_missing:{name}"]
        elif age_days is None or age_days < model.min_onboarding_days:
            reasons.append(f"cold_start:{name}")
        elif lacking := (missing_views & views_of(model.features)) - model.gated_without:
            reasons.append(f"{min(lacking)}_missing:{name}")
        else:
            asked.append(model)
    if not {*MODELS, *tasks} & models.keys():
        reasons = ["no_model"]
    elif not asked and all(reason.startswith("cold_start") for reason in reasons):
        reasons = ["cold_start"]
    return asked, reasons

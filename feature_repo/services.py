"""What each model reads: one feature service per model, and the order of its vector."""

from collections.abc import Sequence
from typing import Any, Final

from feast import FeatureService

from feature_repo.fields import ACTIVITY, AUDIT, PROFILE, PROFILE_NUMBERS
from feature_repo.views import Views
from firstmile.errors import DataError, unknown_name
from firstmile.names import ONLINE_MODEL
from firstmile.vocabulary import AUDIT_ATTRIBUTES, MODELS, READ_FORMATS
from firstmile.vocabulary import PROFILE as WORDS

VERSION: Final = 1
READ: Final = WORDS.features
SERVED: Final = (*MODELS, ONLINE_MODEL)

ACTIVITY_FEATURES: Final = (
    *(f"{family}_{span}_{kind}" for family in READ.families for span in READ.windows for kind in ("count", "weight")),
    *(f"events_{span}_count" for span in READ.windows),
    "active_days_7d",
    "active_days_30d",
    "clicks_total_count",
    "clicks_total_weight",
    *(f"opens_{f}" for f in READ_FORMATS),
    "n_contents",
    "n_pages",
    "days_since_last_event",
    "days_since_first_event",
    "onboarding_age_days",
)


def service_name(model: str) -> str:
    """Name of a model's feature service. Raises DataError for an unknown model."""
    if model not in SERVED:
        raise DataError(unknown_name("model", model, SERVED))
    return f"{model}_v{VERSION}"


def model_features(model: str) -> list[str]:
    """Names of a model's features, in the order of its vector."""
    service_name(model)
    return [*ACTIVITY_FEATURES, *PROFILE_NUMBERS]


def feature_groups(features: Sequence[str]) -> dict[str, list[str]]:
    """The features by the view they come from: what goes missing together.

    >>> feature_groups(["n_pages", "prior_attempts"])
    {'user_activity': ['n_pages'], 'user_profile': ['prior_attempts']}
    """
    groups: dict[str, list[str]] = {}
    for name in features:
        groups.setdefault(PROFILE if name in PROFILE_NUMBERS else ACTIVITY, []).append(name)
    return groups


def build_services(views: Views) -> list[FeatureService]:
    """One service per model. Raises DataError if one would reach the audit view."""
    services = [
        FeatureService(
            name=service_name(model),
            features=[
                views.windows[list(ACTIVITY_FEATURES)],
                *([views.profile[list(PROFILE_NUMBERS)]] if PROFILE_NUMBERS else []),  # of no names Feast makes all
            ],
        )
        for model in SERVED
    ]
    refuse_audit(services)
    return services


def refuse_audit(services: list[Any]) -> None:
    """Raise DataError when a service references the audit view or an audit attribute."""
    for service in services:
        for projection in service.feature_view_projections:
            names = {feature.name for feature in projection.features} & set(AUDIT_ATTRIBUTES)
            if projection.name == AUDIT or names:
                raise DataError(
                    f"feature service {service.name} references {projection.name} {sorted(names)}: "
                    "audit attributes are for monitoring only"
                )

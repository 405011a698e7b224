"""The Feast feature store under given settings, for processes; the `feast` command reads feature_store.yaml itself."""

from pathlib import Path
from typing import Any

import yaml
from feast import FeatureStore
from feast.repo_config import RepoConfig

from feature_repo.entities import content, user
from feature_repo.offline_store import offline_config
from feature_repo.services import build_services
from feature_repo.views import build_views
from firstmile.settings import Settings

REPO = Path(__file__).parent


def definitions(settings: Settings) -> list[Any]:
    """Every object `feast apply` registers."""
    views = build_views(settings)
    of_users = [user, views.activity, views.profile, views.context, *views.audit, views.windows]
    return [*of_users, content, views.content, *build_services(views)]


def feature_store(settings: Settings) -> FeatureStore:
    """A store on the settings' registry, history and Redis; run `apply` once before reading."""
    config = yaml.safe_load((REPO / "feature_store.yaml").read_text(encoding="utf-8"))
    config["registry"]["path"] = str(settings.home / config["registry"]["path"])
    config["offline_store"] = offline_config(settings)
    config["online_store"]["url"] = settings.redis_url
    return FeatureStore(config=RepoConfig(repo_path=REPO, **config))


def apply(settings: Settings) -> FeatureStore:
    """Register every definition, as `feast -c feature_repo apply` does; returns the store."""
    store = feature_store(settings)
    store.apply(definitions(settings))
    return store

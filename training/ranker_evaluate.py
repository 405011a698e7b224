"""The champion ranker put to presentations it has not seen, beside the orders that know nothing of the learner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from firstmile.errors import DataError
from firstmile.names import CHAMPION, RANKER
from firstmile.oulad import OuladTables
from training.ranker import Ranker
from training.ranker_examine import day_figures
from training.ranking_set import EVALUATED_DAYS, ranking_set
from training.tracking import aliases
from training.versions import read_fitted, read_version


def has_champion(client: MlflowClient) -> bool:
    """Whether there is a ranker to evaluate."""
    try:
        return CHAMPION in aliases(client, RANKER)
    except DataError:
        return False


def evaluate_ranker(
    client: MlflowClient, tables: OuladTables, store: Any, data: Path, *, seed: int
) -> dict[str, dict[str, float]]:
    """Figures by day: n (learners who opened something), ndcg5, ndcg5_popularity, ndcg5_last_day, intervals, gains.

    store
        A feast.FeatureStore whose history has rows of the tables' users and content statistics.

    Raises DataError when the champion's files are not there, it reads other features, or nobody is left.
    """
    champion = read_version(client, RANKER, aliases(client, RANKER)[CHAMPION])
    booster = read_fitted(champion).booster
    ranker = Ranker(seed, tuple(booster.feature_names or ()))
    made = ranking_set(store, tables, data, days=EVALUATED_DAYS)
    figures = day_figures(made, ranker.scores(booster, made.x), seed=seed)
    return {str(day): _named(found) for day, found in figures.items()}


def _named(figures: Mapping[str, float]) -> dict[str, float]:
    """Counts as whole numbers."""
    named = {name.replace("ndcg_at_5", "ndcg5"): value for name, value in figures.items()}
    return {name: int(value) if name.split("_")[0] == "n" else value for name, value in named.items()}

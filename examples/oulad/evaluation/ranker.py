"""The champion ranker put to presentations it has not seen, beside the orders that know nothing of the learner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from examples.oulad.learning.ranking import ranking_set
from examples.oulad.tables.tables import OuladTables
from firstmile.errors import DataError
from firstmile.names import CHAMPION, RANKER
from training.ranker import BoolArray, Ranker
from training.ranker_examine import day_figures
from training.ranking_set import EVALUATED_DAYS, RankingSet
from training.tracking import aliases
from training.versions import Version, read_fitted, read_people, read_version


def has_champion(client: MlflowClient) -> bool:
    """Whether there is a ranker to evaluate."""
    try:
        return CHAMPION in aliases(client, RANKER)
    except DataError:
        return False


def evaluate_ranker(
    client: MlflowClient, tables: OuladTables, store: Any, data: Path, *, seed: int, only_unseen: bool = False
) -> dict[str, Any]:
    """Figures by day: n (learners who opened something), ndcg5, ndcg5_popularity, ndcg5_last_day, intervals, gains,
    n_students_of_training.

    store
        A feast.FeatureStore whose history has rows of the tables' users and content statistics.
    only_unseen
        Whether students whom the champion learned from are left out, not only counted.

    Raises DataError when the champion's files are not there, it reads other features, or nobody is left.
    """
    champion = read_version(client, RANKER, aliases(client, RANKER)[CHAMPION])
    booster = read_fitted(champion).booster
    ranker = Ranker(seed, tuple(booster.feature_names or ()))
    made = ranking_set(store, tables, data, days=EVALUATED_DAYS)
    seen = _seen(client, champion, made)
    if seen is not None and only_unseen:
        if seen.all():
            return {"error": f"{RANKER} {champion.version} has learned from everybody here, and they are left out"}
        part = made.where(~seen)
    else:
        part = made
    figures = day_figures(part, ranker.scores(booster, part.x), seed=seed)
    if seen is not None:
        for day, found in figures.items():
            found["n_students_of_training"] = float(seen[made.groups["day"] == day].sum())
    return {str(day): _named(found) for day, found in figures.items()}


def _seen(client: MlflowClient, champion: Version, made: RankingSet) -> BoolArray | None:
    """Groups of students the champion learned from, shape (n_groups,); None for one that did not keep who they were."""
    try:
        students = read_people(client, champion)
    except DataError:
        return None
    return made.groups["person"].isin(list(students)).to_numpy(bool)


def _named(figures: Mapping[str, float]) -> dict[str, float]:
    """Counts as whole numbers."""
    named = {name.replace("ndcg_at_5", "ndcg5"): value for name, value in figures.items()}
    return {name: int(value) if name.split("_")[0] == "n" else value for name, value in named.items()}

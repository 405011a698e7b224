"""A ranker beside the champion it would replace, on users neither had learned from."""

import tempfile

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from mlflow.tracking import MlflowClient

from feature_repo.content_features import RANKER_FEATURES
from firstmile.clock import MICROS_PER_DAY
from firstmile.errors import DataError
from training.gates import Comparison
from training.ndcg import interval, ndcg
from training.papers import EXAMINED
from training.ranker import Ranker
from training.ranker_examine import NDCG
from training.ranker_register import EXAMINED_ROWS
from training.versions import Version, read_artifact, read_fitted, read_people

_OTHER = "ndcg_of_champion"


def compare_rankers(client: MlflowClient, challenger: Version, champion: Version) -> Comparison:
    """Challenger − champion NDCG@5, paired by user and day.

    On starts after the champion's last label the champion ranks itself, people it had learned from left out. Where
    there are none, the users count that both were examined on: each had been fitted without them then.

    Raises DataError when papers are missing, or there is nobody to compare on.
    """
    graded = _graded(client, challenger)
    began_us = graded["now_us"] + 1 - (graded["day"] + 1) * MICROS_PER_DAY
    if (began_us > champion.trained_until_us).all():
        both = graded.assign(**{_OTHER: _ranked_by(client, challenger, champion, graded)})
        both = both[~both["person"].isin(list(read_people(client, champion)))]
        how = "data after both: {n} users whom neither had seen"
    else:
        other = _graded(client, champion)[["user_id", "day", NDCG]].rename(columns={NDCG: _OTHER})
        both = graded.merge(other, on=["user_id", "day"])
        how = "no data after both, so by the examinations of both: {n} users who were in each"
    both = both[both[NDCG].notna() & both[_OTHER].notna()]
    if both.empty:
        raise DataError(
            f"{challenger.model} {challenger.version} and {champion.version} were examined on nobody in common, and "
            "there is no start after both; train on cohorts that the champion was trained on too"
        )
    gain = (both[NDCG] - both[_OTHER]).to_numpy(np.float64)
    low, high = interval(gain, both["person"].to_numpy(np.int64), seed=int(challenger.params["seed"]))
    n = both["user_id"].nunique()
    return Comparison(champion.version, how.format(n=n), float(gain.mean()), low, high, figure="NDCG@5")


def _graded(client: MlflowClient, version: Version) -> pd.DataFrame:
    with tempfile.TemporaryDirectory(prefix="firstmile-version-") as folder:
        frame: pd.DataFrame = pq.read_table(read_artifact(client, version, EXAMINED, folder)).to_pandas()
    return frame


def _ranked_by(
    client: MlflowClient, challenger: Version, champion: Version, graded: pd.DataFrame
) -> "pd.Series[float]":
    """The champion's NDCG of each examined group of the challenger."""
    with tempfile.TemporaryDirectory(prefix="firstmile-version-") as folder:
        rows = pq.read_table(read_artifact(client, challenger, EXAMINED_ROWS, folder))
    x = np.column_stack([rows[name].to_numpy() for name in RANKER_FEATURES]).astype(np.float32)
    booster = read_fitted(champion).booster
    names = tuple(booster.feature_names or ())
    if unknown := [name for name in names if name not in RANKER_FEATURES]:
        raise DataError(f"it reads features that this code does not give: {', '.join(unknown)}")
    ranker = Ranker(int(champion.params["seed"]), names)
    n_true = (graded["n_openings"] + graded["n_lost"]).to_numpy(np.int64)
    found = ndcg(ranker.scores(booster, x), rows["y"].to_numpy(), rows["group"].to_numpy(), n_true)
    return pd.Series(found, index=graded.index)

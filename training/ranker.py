"""The content ranker: the recipe, fitting it on groups, asking it. LambdaMART over what each user could open next.

Source: C. Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from feature_repo.content_features import RANKER_FEATURES
from training.arrays import FloatArray
from training.ndcg import TOP
from training.ranking_set import RankingSet

BoolArray = npt.NDArray[np.bool_]

N_ROUNDS: Final = 40
"""Fixed. Stopping where held-out users' NDCG no longer gains was tried: that is flat and noisy here, so it stopped
anywhere between 14 and 250 rounds. A hundred at half the rate gain 0.004 to 0.009 of NDCG, and are slower to ask."""
SHARE_OF_UNOPENED: Final = 0.15
"""Of 100 candidates some 3 are opened: a seventh of the rest teaches as much, in two thirds of the time."""
RECIPE: Final[dict[str, Any]] = {
    "objective": "rank:ndcg",
    "eval_metric": f"ndcg@{TOP}",
    "lambdarank_pair_method": "topk",
    "lambdarank_num_pair_per_sample": 8,
    "tree_method": "hist",
    "learning_rate": 0.2,
    "max_depth": 6,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "reg_lambda": 5.0,
}


NEVER_LESS: Final = ("popularity", "popularity_in_stage")
"""More of these never lowers a score: so a helpful verdict, which is in both, never puts an item further down. It costs
nothing on the demo's data beyond the noise of the figures."""


@dataclass(frozen=True)
class Ranker:
    """How the ranker is fitted in this run: the vector's names, the seed.

    features
        Some or all of RANKER_FEATURES, in that order; without RECENT_FEATURES where they cannot be served.
    """

    seed: int
    features: tuple[str, ...] = RANKER_FEATURES

    def parameters(self) -> dict[str, Any]:
        """All XGBoost parameters. A fit runs on one thread, see `models.Fitter`."""
        never_less = {name: 1 for name in NEVER_LESS if name in self.features}
        return {**RECIPE, "monotone_constraints": never_less, "seed": self.seed, "nthread": 1}

    def fit(self, data: RankingSet, users: BoolArray | None = None) -> xgb.Booster:
        """A booster on the groups that opened something; every user's groups together weigh 1.

        users
            Shape (n_groups,): the groups to learn from; None: all.
        """
        has_any = data.groups["n_openings"].to_numpy() > 0
        taught = data.where(has_any if users is None else has_any & users)
        drawn = np.random.default_rng(self.seed).random(len(taught.y)) < SHARE_OF_UNOPENED
        kept = drawn | (taught.y > 0)
        weight = 1.0 / taught.groups.groupby("user_id")["user_id"].transform("size").to_numpy(np.float64)
        matrix = xgb.DMatrix(
            self.columns(taught.x[kept]),
            taught.y[kept],
            qid=taught.group[kept],
            weight=weight,
            feature_names=list(self.features),
            nthread=1,
        )
        return xgb.train(self.parameters(), matrix, N_ROUNDS, verbose_eval=False)

    def columns(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The columns of `features` out of vectors in the order of RANKER_FEATURES."""
        return x if self.features == RANKER_FEATURES else x[:, [RANKER_FEATURES.index(f) for f in self.features]]

    def scores(self, booster: xgb.Booster, x: npt.NDArray[np.float32]) -> FloatArray:
        """Scores of vectors in the order of RANKER_FEATURES, shape (n_rows,); compared within a group only."""
        return np.asarray(booster.inplace_predict(self.columns(x)), dtype=np.float64)

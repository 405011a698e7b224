"""The order of a user's shelf, for the rules to go over: the ranker's where it answers, else what is popular.

The vectors are feature_repo's, the same as in training: see content_features.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.content_features import RANKER_FEATURES, READ, STAGE_INPUTS, candidates, ranker_features
from feature_repo.content_standing import Standing
from feature_repo.stage import stages
from firstmile.names import RANKER, STAGES
from serving.catalogue import Catalogue, Shelf
from serving.facts import Facts
from serving.models import Scores, ScoringModel
from serving.order import POPULAR, RANKED, Order
from serving.policy import Policy
from serving.ranking import lacking

TOO_EARLY: Final = f"cold_start:{RANKER}"
"""Nothing is known yet of what happened with the shelf's content, or too little of the user: the ranker was never
taught such a shelf, nor such a user."""

Standings = Callable[[Catalogue], Mapping[str, Standing]]
"""How the shelves of a catalogue stand now, by cohort."""


class Orders:
    """Orders of the policy's shelves, by how they stand now."""

    def __init__(self, policy: Policy, standings: Standings) -> None:
        self._policy = policy
        self._standings = standings

    def ranker(self, models: Mapping[str, ScoringModel], facts: Facts) -> tuple[ScoringModel | None, list[str]]:
        """The ranker, if it can be asked about this user, and why it cannot; without a champion neither."""
        model = models.get(RANKER)
        if model is None:
            return None, []
        age_days = facts.features.get("onboarding_age_days")
        is_young = age_days is None or age_days < model.min_onboarding_days
        return (None, [TOO_EARLY]) if is_young or self._standing(facts) is None else (model, [])

    def rank(self, ranker: ScoringModel, facts: Facts, into: Scores) -> None:
        """Ask the ranker."""
        standing = self._standing(facts)
        if standing is None:
            return
        try:
            into.order = ranked(ranker, self._policy.shelf(facts), standing, facts)
        except (ValueError, TypeError):
            into.failed.append(RANKER)
        else:
            into.answered.append(RANKER)

    def popular(self, facts: Facts) -> Order | None:
        """What users of the same stage open most; None when nothing was opened yet."""
        standing = self._standing(facts)
        return None if standing is None else popular(standing, facts)

    def _standing(self, facts: Facts) -> Standing | None:
        return self._standings(self._policy.catalogue).get(self._policy.shelf(facts).cohort)


def ranked(model: ScoringModel, shelf: Shelf, standing: Standing, facts: Facts) -> Order | None:
    """The ranker's order of what may be shown: of what is neither done nor lacks a prerequisite the most popular.

    None when everything is done. Raises xgboost.core.XGBoostError (a ValueError) when the booster refuses.
    """
    item, x = vectors(shelf, standing, facts)
    if not len(item):
        return None
    said = model.scores(np.ascontiguousarray(x[:, [RANKER_FEATURES.index(f) for f in model.features]]))[:, 0]
    return Order(item, (1.0 / (1.0 + np.exp(-said.astype(np.float64)))).astype(np.float32), RANKED)


def vectors(shelf: Shelf, standing: Standing, facts: Facts) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The user's candidates, most popular first, and their vectors in the order of RANKER_FEATURES."""
    seen = facts.seen(shelf.hashes)[None]
    user, item = candidates(standing, seen | lacking(shelf, facts.seen)[None])
    users = {name: _known(facts, name) for name in READ}
    return item, ranker_features(standing, users, seen, user=user, item=item)


def popular(standing: Standing, facts: Facts) -> Order | None:
    """By the share of the shelf's openings among users of this user's stage; who has done nothing is new."""
    stage = int(stages(*(_known(facts, name) for name in STAGE_INPUTS))[0])
    share = np.nan_to_num(standing.in_stage[stage])
    items = np.flatnonzero(share > 0)
    if not len(items):
        return None
    return Order(items, (share[items] / share.max()).astype(np.float32), f"{POPULAR}:{STAGES[stage]}")


def _known(facts: Facts, name: str) -> NDArray[np.float64]:
    value = facts.features.get(name)
    return np.array([math.nan if value is None else value])

"""Made-up learners of several starts, as models learn from them: small enough to fit in a test."""

import numpy as np
import pandas as pd

from examples.oulad.tables.tables import date_start_us
from firstmile.clock import MICROS_PER_DAY
from training.dataset import TrainingSet
from training.models import Rows
from training.split import begins_on
from training.tasks import TASKS

FEATURES = ("clicks_total_weight", "onboarding_age_days", "n_contents")
DAYS = (3, 14)
AHEAD_DAYS = 14
"""How far a label looks."""


def rows(*starts: str, n: int = 40, seed: int = 1) -> Rows:
    """Two rows of each of n learners a start; who clicks more stays, and what was opened says more than that."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n * len(starts)), 2)
    x = rng.lognormal(3, 1, (len(person), len(FEATURES)))
    x[:, 1] = np.tile(DAYS, len(person) // 2)
    y = (np.log(x[:, 0]) + 2 * (x[:, 2] > 20) + rng.normal(0, 1, len(x)) > 4).astype(np.int64)
    return Rows(x, y, np.full(len(y), 0.5), person, np.repeat(np.array(starts), 2 * n))


def data(of: Rows) -> TrainingSet:
    """A set of them."""
    day = of.x[:, 1].astype(np.int64)
    users = pd.DataFrame({"user_id": of.person.astype(str), "cohort": of.cohort, "day": day})
    users["until_day"] = day + AHEAD_DAYS
    users["now_us"] = [
        date_start_us(begins_on(p)) + (d + 1) * MICROS_PER_DAY - 1 for p, d in zip(of.cohort, day, strict=True)
    ]
    return TrainingSet("activation", FEATURES, users, of, {}, TASKS["activation"])

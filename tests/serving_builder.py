"""Serving without a store or a server: rows, readers, boosters and policies with defaults."""

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xgboost as xgb
from demo_product import CONTENT, EXPERIMENTS, RULES

from feature_repo import distinct
from feature_repo.content_standing import Standing
from feature_repo.distinct import Distinct, content_hash
from firstmile.clock import FixedClock
from firstmile.errors import DataError
from firstmile.names import CHALLENGER
from firstmile.setting_sections import ServingSettings
from firstmile.vocabulary import CLASSES, MODELS
from serving.arms import Arm, Step, laid_out
from serving.buckets import N_PLACES
from serving.catalogue import Catalogue, load_catalogue
from serving.conditions import Condition
from serving.experiments import Experiment, Experiments
from serving.experiments_file import load_experiments
from serving.format_odds import FormatOdds
from serving.ladder import Ladder
from serving.models import ScoringModel, prepare
from serving.playbook import Playbook
from serving.policy import Policy
from serving.policy_fields import FIELDS
from serving.rules import load_rules

NOW_US = 1_790_000_000_000_000
LEARNER = {
    "clicks_total_count": 40.0,
    "days_since_last_event": 0.5,
    "onboarding_age_days": 6.0,
    "n_contents": 9.0,
    "form_submit_total_count": 0.0,
    "prior_attempts": 0.0,
    "opens_community": 1.0,
    "opens_lesson": 6.0,
}
FEATURES = ("clicks_total_count", "days_since_last_event", "onboarding_age_days", "prior_attempts")


@dataclass
class Row:
    """A read row; opened content by id."""

    values: Mapping[str, float | None] = field(default_factory=lambda: dict(LEARNER))
    profile: Mapping[str, Any] = field(default_factory=lambda: {"cohort": "AAA_2014J", "prior_attempts": 0})
    context: Mapping[str, Any] = field(default_factory=dict)
    row_version_us: int | None = NOW_US
    opened: Sequence[str] = ()

    @property
    def contents(self) -> Distinct:
        """As the packed row has it."""
        value = content_hash(list(self.opened))
        return distinct.add(distinct.empty(), np.zeros(len(value), np.int64), value, n_rows=1)


@dataclass
class Rows:
    """A reader over a dictionary; `gate` holds every read up, `error` breaks it, lag None is a lost progress record."""

    rows: dict[str, Row] = field(default_factory=dict)
    lag_ms: float | None = 0.0
    error: Exception | None = None
    gate: threading.Event | None = None
    asked: list[int] = field(default_factory=list)

    async def read(self, user_id: str, now_us: int) -> Row | None:
        """The row, or trouble."""
        self.asked.append(now_us)
        while self.gate is not None and not self.gate.is_set():
            await asyncio.sleep(0.001)
        if self.error is not None:
            raise self.error
        return self.rows.get(user_id)

    async def read_many(self, asked: Sequence[tuple[str, int]]) -> list[tuple[Row | Exception | None, float | None]]:
        """The rows and their lag; a damaged one's error in its place."""
        found: list[tuple[Row | Exception | None, float | None]] = []
        for user_id, now_us in asked:
            try:
                found.append((await self.read(user_id, now_us), self.lag_ms))
            except DataError as error:
                found.append((error, self.lag_ms))
        return found


@functools.cache
def booster(name: str, features: tuple[str, ...] = FEATURES, *, seed: int = 0) -> xgb.Booster:
    """A real booster of few small trees over random rows; more clicks, more of the last class."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 60, (200, len(features)))
    classes = len(CLASSES.get(name, ())) or 2
    y = np.digitize(x[:, 0], np.linspace(0, 60, classes + 1)[1:-1])
    task = {"objective": "multi:softprob", "num_class": classes} if classes > 2 else {"objective": "binary:logistic"}
    data = xgb.DMatrix(x, y, feature_names=list(features), nthread=1)
    return xgb.train({**task, "max_depth": 2, "nthread": 1, "seed": seed}, data, 8)


def model(name: str, *, version: str = "1", min_onboarding_days: float = 0.0, **changes: Any) -> ScoringModel:
    """A model of that booster."""
    made = ScoringModel(name, version, f"run-{version}", prepare(booster(name)), FEATURES, min_onboarding_days)
    return replace(made, **changes)


def models(*names: str, **changes: Any) -> dict[str, ScoringModel]:
    """Models by name; all of them when none is named."""
    return {n: model(n, **changes) for n in names or MODELS}


def experiments(*kinds: str, shadowed: bool = False, **changes: Any) -> Experiments:
    """One experiment whose arms, named and chosen by kind, share all users equally."""
    steps = (Step(0, N_PLACES // len(kinds)),)
    arms = laid_out(tuple(Arm(kind, kind, steps) for kind in kinds))
    return Experiments((Experiment("e", "e", Condition(), arms, shadowed),), **changes)


class Broken:
    """A booster that raises, or waits for `gate`."""

    def __init__(self, error: Exception | None = None, gate: threading.Event | None = None) -> None:
        self.error, self.gate = error, gate

    def inplace_predict(self, data: Any) -> Any:
        """Trouble."""
        if self.gate is not None:
            self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return np.array([0.5], np.float32)


@functools.cache
def catalogue() -> Catalogue:
    """The shipped catalogue with the pages of OULAD."""
    return load_catalogue(CONTENT)


@functools.cache
def policy() -> Policy:
    """The shipped rules over it."""
    return Policy(load_rules(FIELDS, catalogue(), RULES), catalogue())


def ladder(
    reader: Rows,
    in_use: Callable[[], Mapping[str, ScoringModel]] | Mapping[str, ScoringModel] | None = None,
    *,
    clock: FixedClock | None = None,
    drawn_from: Callable[[], Experiments] | Experiments | None = None,
    challengers: Mapping[str, ScoringModel] | None = None,
    standings: Callable[[], Mapping[str, Standing]] = dict,
    odds: Callable[[], Mapping[str, FormatOdds]] = dict,
    playbook: Playbook | None = None,
    **settings: Any,
) -> Ladder:
    """A ladder over a reader and models, all of them by default; generous deadlines, for slow machines."""
    given = models() if in_use is None else in_use
    deadlines = {"budget_ms": 60_000.0, "feature_timeout_ms": 20_000.0, "model_timeout_ms": 20_000.0, **settings}
    drawn = load_experiments(EXPERIMENTS) if drawn_from is None else drawn_from
    return Ladder(
        ServingSettings(**deadlines),
        lambda: playbook or Playbook(policy(), drawn() if callable(drawn) else drawn),
        reader=reader,
        models=lambda kind: {
            **(given() if callable(given) else given),
            **((challengers or {}) if kind == CHALLENGER else {}),
        },
        clock=clock or FixedClock(NOW_US),
        standings=lambda catalogue: standings(),
        odds=lambda catalogue: odds(),
    )

"""What does the content ranker cost, and is it worth it? Seconds to build and fit, milliseconds to rank, NDCG@5.

.venv/bin/python -m benchmarks.ranker [--home DIR] [--no-examinations]

Without --home the three cohorts are backfilled into a folder of its own first (a minute).
"""

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from benchmarks import lab
from benchmarks.machine import facts
from examples.oulad.history.backfill import backfill_oulad
from examples.oulad.learning.ranking import ranking_set
from examples.oulad.tables import tables as oulad
from feature_repo.content_features import MAX_CANDIDATES, RANKER_FEATURES, READ, RECENT_FEATURES, ranker_features
from feature_repo.content_features import candidates as chosen_from
from feature_repo.content_standing import Standing
from feature_repo.store import apply
from firstmile.names import STAGES
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings
from firstmile.vocabulary import FORMATS
from pipelines.backfill_content import backfill_content
from training.ranker import Ranker
from training.ranker_examine import examine_ranker
from training.ranking_set import RankingSet

N_ITEMS = 300
N_WARM_UP, N_RANKED = 200, 2_000


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gave, and its seconds."""
    began = time.perf_counter()
    found = work()
    return found, round(time.perf_counter() - began, 2)


def ranking_ms(booster: xgb.Booster, made: RankingSet) -> dict[str, dict[str, float]]:
    """Milliseconds to rank MAX_CANDIDATES items for one user: vectors alone, trees alone, both with the sort.

    `call` is XGBoost asked for a single row: what its call costs before any tree.
    """
    booster.set_param({"nthread": 1})
    rng = np.random.default_rng(7)
    share = rng.dirichlet(np.ones(N_ITEMS))
    shelf = Standing(
        rng.integers(0, len(FORMATS), N_ITEMS), share, np.tile(share, (len(STAGES), 1)), np.tile(share, (2, 1)),
        rng.random((4, N_ITEMS)),
    )  # fmt: skip
    seen = rng.random((N_RANKED, 1, N_ITEMS)) < 0.1
    users = [{name: rng.integers(0, 20, 1).astype(float) for name in READ} for _ in range(N_RANKED)]
    starts = np.searchsorted(made.group, np.arange(len(made.groups) + 1))
    x = [made.x[starts[g] : starts[g + 1]] for g in rng.choice(len(made.groups), N_RANKED)]

    def vectors(i: int) -> np.ndarray:
        user, item = chosen_from(shelf, seen[i])
        return ranker_features(shelf, users[i], seen[i], user=user, item=item)

    def trees(i: int) -> np.ndarray:
        return np.asarray(booster.inplace_predict(x[i]))

    def call(i: int) -> np.ndarray:
        return np.asarray(booster.inplace_predict(x[i][:1]))

    def both(i: int) -> np.ndarray:
        return np.argsort(-booster.inplace_predict(vectors(i)), kind="stable")[:5]

    return {each.__name__: _spread_ms(each) for each in (vectors, call, trees, both)}


def _spread_ms(work: Callable[[int], Any]) -> dict[str, float]:
    for i in range(N_WARM_UP):
        work(i)
    times = []
    for i in range(N_RANKED):
        began = time.perf_counter()
        work(i)
        times.append(1_000 * (time.perf_counter() - began))
    return {f"p{p}": round(float(np.percentile(times, p)), 3) for p in (10, 50, 90, 99)}


def run(settings: Settings, data: Path, *, with_examinations: bool) -> dict[str, Any]:
    """Figures on a history that is there."""
    store = apply(settings)
    tables = oulad.read(data)
    made, set_s = timed(lambda: ranking_set(store, tables, data))
    ranker = Ranker(settings.training.seed)
    booster, fit_s = timed(lambda: ranker.fit(made))
    result = {
        "set": made.description(),
        "set_seconds": set_s,
        "fit_seconds": fit_s,
        "artifact_bytes": len(booster.save_raw("ubj")),
        "n_candidates": MAX_CANDIDATES,
        "ranking_ms": ranking_ms(booster, made),
    }
    if with_examinations:
        plain = Ranker(ranker.seed, tuple(f for f in RANKER_FEATURES if f not in RECENT_FEATURES))
        for name, each in (("figures", ranker), ("figures_without_recent", plain)):
            result[name], result[f"{name}_seconds"] = timed(
                lambda each=each: examine_ranker(made, each, threads=settings.training.threads)
            )
    return result


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "oulad")
    parser.add_argument("--home", type=Path, help="with the history of all cohorts; default: made anew")
    parser.add_argument("--no-examinations", action="store_true")
    given, machine = parser.parse_args(), facts()
    logging.getLogger("feast").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="firstmile-benchmark-", ignore_cleanup_errors=True) as folder:
        settings = Settings(home=given.home or Path(folder), product=lab.PRODUCT)
        if given.home is None:
            backfill_oulad(settings, oulad.read(given.data), days=(None, None), workers=2)
            backfill_content(settings, "oulad")
        result = run(settings, given.data, with_examinations=not given.no_examinations)
    print(json.dumps({**machine, **result}, indent=1))


if __name__ == "__main__":
    main()

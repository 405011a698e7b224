"""The ranker put to the examinations of split.py, beside two orders that know nothing of the user.

Figures are means over groups in which there was something to find; a group is one user at one day. `popularity` puts
what was opened most so far in this cohort first, `last_day` what was opened most on the day that ends.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import pandas as pd

from feature_repo.content_features import RANKER_FEATURES
from training.arrays import FloatArray
from training.figures import DayFigures, Figures
from training.findings import Findings
from training.ndcg import interval, ndcg
from training.ranker import BoolArray, Ranker
from training.ranking_set import EVALUATED_DAYS, RankingSet
from training.slices import Slices, cut, gap_figures
from training.split import Examination, Split, examinations, has_taught, judged_by

BASELINES: Final = ("popularity", "last_day")
NDCG: Final = "ndcg_at_5"


def find_ranker(
    data: RankingSet, scores: Mapping[Examination, FloatArray], audit: pd.DataFrame, *, seed: int
) -> Findings:
    """Figures per examination and day, and of groups of people in the judged one.

    scores
        As `examined_scores` gives them.
    audit
        Audit attributes by user_id.
    """
    figures: dict[str, DayFigures] = {n: day_figures(data, score, seed=seed) for n, score in scores.items()}
    judge = judged_by(sorted(set(data.groups["cohort"])))
    graded = grades(data, scores[judge])
    groups = {day: _slices(graded[graded["day"] == day], audit, seed) for day in figures[judge]}
    for day, found in gap_figures(groups).items():
        figures[judge][day] |= found
    return Findings(figures, groups)


def examined_scores(data: RankingSet, ranker: Ranker, *, threads: int) -> dict[Examination, FloatArray]:
    """What the ranker says per examination to every row it was examined on, shape (n_rows,); NaN to the others.

    `later_start` is missing when all chosen cohorts start on one day.

    threads
        Fits running side by side.
    """
    cohort = data.groups["cohort"].to_numpy(str)
    person = data.groups["person"].to_numpy(np.int64)
    has_any = data.groups["n_openings"].to_numpy() > 0

    def teaches(split: Split) -> bool:
        return has_taught(Split(split.train & has_any, split.test), person)

    splits = examinations(cohort, person, seed=ranker.seed, teaches=teaches)
    each = {id(split): split for of_name in splits.values() for split in of_name}
    with ThreadPoolExecutor(threads) as pool:
        boosters = dict(zip(each, pool.map(lambda split: ranker.fit(data, split.train), each.values()), strict=True))
    result: dict[Examination, FloatArray] = {}
    for name, of_name in splits.items():
        result[name] = np.full(len(data.y), np.nan)
        for split in of_name:
            rows = split.test[data.group]
            result[name][rows] = ranker.scores(boosters[id(split)], data.x[rows])
    return result


def scored(data: RankingSet, score: FloatArray) -> BoolArray:
    """Groups that were scored on a day the gates look at, shape (n_groups,).

    score
        Shape (n_rows,): NaN for the rows of groups that are not examined.
    """
    found = np.zeros(len(data.groups), bool)
    found[data.group[~np.isnan(score)]] = True
    return found & data.groups["day"].isin(EVALUATED_DAYS).to_numpy(bool)


def grades(data: RankingSet, score: FloatArray) -> pd.DataFrame:
    """The scored groups with NDCG of the ranker and of each baseline; NaN where there was nothing to find."""
    chosen = scored(data, score)
    part = data.where(chosen)
    n_true = (part.groups["n_openings"] + part.groups["n_lost"]).to_numpy(np.int64)
    last_day = part.x[:, RANKER_FEATURES.index("popularity_1d")]
    orders = {
        NDCG: score[chosen[data.group]],
        f"{NDCG}_popularity": part.n_opened,
        f"{NDCG}_last_day": np.where(np.isnan(last_day), 0.0, last_day),
    }
    return part.groups.assign(**{name: ndcg(order, part.y, part.group, n_true) for name, order in orders.items()})


def day_figures(data: RankingSet, score: FloatArray, *, seed: int) -> DayFigures:
    """Figures by evaluated day of the groups that were scored; see `scored`."""
    graded = grades(data, score)
    days = sorted({*graded["day"].tolist()})
    return {day: _figures(graded[graded["day"] == day], seed=seed) for day in days}


def _figures(graded: pd.DataFrame, *, seed: int) -> Figures:
    """`ndcg_at_5`, `…_<baseline>` and the ranker's `gain_over_<baseline>`, each with its interval `_low`, `_high`."""
    has_any = graded[graded[NDCG].notna()]
    out: Figures = {
        "n": float(len(has_any)),
        "n_nothing_opened": float(len(graded) - len(has_any)),
        "n_openings": float(graded["n_openings"].sum()),
        "n_lost": float(graded["n_lost"].sum()),
    }
    own = has_any[NDCG].to_numpy(np.float64)
    others = {name: has_any[f"{NDCG}_{name}"].to_numpy(np.float64) for name in BASELINES}
    measured = {NDCG: own, **{f"{NDCG}_{name}": values for name, values in others.items()}}
    measured |= {f"gain_over_{name}": own - values for name, values in others.items()}
    person = has_any["person"].to_numpy(np.int64)
    for name, values in measured.items():
        out[name] = float(values.mean()) if len(values) else float("nan")
        out[f"{name}_low"], out[f"{name}_high"] = interval(values, person, seed=seed)
    return out


def _slices(graded: pd.DataFrame, audit: pd.DataFrame, seed: int) -> Slices:
    has_any = graded[graded[NDCG].notna()]
    shown = ("n", NDCG, f"{NDCG}_low", f"{NDCG}_high", f"{NDCG}_popularity")

    def measure(rows: BoolArray) -> Figures:
        found = _figures(has_any[rows], seed=seed)
        return {name: found[name] for name in shown}

    return cut(has_any["user_id"].to_numpy(str), audit, measure)

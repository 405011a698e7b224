"""The ranker put to the examinations of split.py, beside two orders that know nothing of the learner.

Figures are means over groups in which there was something to find; a group is one learner at one day. `popularity` puts
what was opened most so far in this presentation first, `last_day` what was opened most on the day that ends.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from feature_repo.content_features import RANKER_FEATURES
from training.figures import DayFigures, Figures
from training.ndcg import interval, ndcg
from training.ranker import BoolArray, Ranker
from training.ranking_set import EVALUATED_DAYS, RankingSet
from training.split import Examination, FloatArray, Split, held_out_students, later_start

BASELINES: Final = ("popularity", "last_day")


def examine_ranker(data: RankingSet, ranker: Ranker, *, threads: int) -> dict[Examination, DayFigures]:
    """Figures per examination and day, of students the ranker had not seen.

    `later_start` is missing when all chosen presentations start on one day.

    threads
        Fits running side by side.
    """
    scores = examined_scores(data, ranker, threads=threads)
    return {name: day_figures(data, score, seed=ranker.seed) for name, score in scores.items()}


def examined_scores(data: RankingSet, ranker: Ranker, *, threads: int) -> dict[Examination, FloatArray]:
    """What the ranker says per examination to every row it was examined on, shape (n_rows,); NaN to the others."""
    presentation = data.groups["presentation"].to_numpy(str)
    student = data.groups["id_student"].to_numpy(np.int64)
    later = later_start(presentation, student)
    splits: dict[Examination, Sequence[Split]] = {} if later is None else {"later_start": [later]}
    splits["held_out_students"] = held_out_students(student, seed=ranker.seed)
    result: dict[Examination, FloatArray] = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, of_name in splits.items():
            boosters = list(pool.map(lambda split: ranker.fit(data, split.train), of_name))
            result[name] = np.full(len(data.y), np.nan)
            for split, booster in zip(of_name, boosters, strict=True):
                rows = split.test[data.group]
                result[name][rows] = ranker.scores(booster, data.x[rows])
    return result


def day_figures(data: RankingSet, score: FloatArray, *, seed: int) -> DayFigures:
    """Figures by evaluated day of the groups that were scored.

    score
        Shape (n_rows,): NaN for the rows of groups that are not examined.
    """
    is_scored = np.zeros(len(data.groups), bool)
    is_scored[data.group[~np.isnan(score)]] = True
    part = data.where(is_scored)
    n_true = (part.groups["n_openings"] + part.groups["n_lost"]).to_numpy(np.int64)
    last_day = part.x[:, RANKER_FEATURES.index("popularity_1d")]
    orders = {
        "": score[is_scored[data.group]],
        "popularity": part.n_opened,
        "last_day": np.where(np.isnan(last_day), 0.0, last_day),
    }
    found = {name: ndcg(order, part.y, part.group, n_true) for name, order in orders.items()}
    day = part.groups["day"].to_numpy(np.int64)
    return {at: _figures(part, found, day == at, seed=seed) for at in EVALUATED_DAYS if (day == at).any()}


def _figures(data: RankingSet, found: Mapping[str, FloatArray], chosen: BoolArray, *, seed: int) -> Figures:
    """`ndcg_at_5`, `…_<baseline>` and the ranker's `gain_over_<baseline>`, each with its interval `_low`, `_high`."""
    groups, has_any = data.groups[chosen], chosen & ~np.isnan(found[""])
    student = data.groups["id_student"].to_numpy(np.int64)[has_any]
    out: Figures = {
        "n": float(has_any.sum()),
        "n_nothing_opened": float((chosen & ~has_any).sum()),
        "n_openings": float(groups["n_openings"].sum()),
        "n_lost": float(groups["n_lost"].sum()),
    }
    measured = {f"ndcg_at_5_{name}".rstrip("_"): values[has_any] for name, values in found.items()}
    measured |= {f"gain_over_{name}": (found[""] - found[name])[has_any] for name in BASELINES}
    for name, values in measured.items():
        out[name] = float(values.mean()) if len(values) else float("nan")
        out[f"{name}_low"], out[f"{name}_high"] = interval(values, student, seed=seed)
    return out

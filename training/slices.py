"""The same figures for each group of an audited attribute, and how far groups lie apart.

Audit attributes come from the tables at hand, never from a feature: they cut what was answered, they answer nothing.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from scipy.stats import binomtest

from feature_repo.fields import AUDIT
from feature_repo.sources import EVENT_TIMESTAMP
from firstmile.settings import Settings
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from training.arrays import BoolArray, FloatArray, IntArray, TextArray
from training.bootstrap import LEVEL, intervals
from training.evaluate import quality
from training.figures import ENDS, DayFigures, Figures
from training.tasks import TASKS

MIN_GROUP: Final = 50
"""Users of a group on a day: fewer are named, not measured."""
MIN_OUTCOMES: Final = 20
"""People of a group it came true for (or not) without whom there is no rate: of 5 one alone moves it by 0.2."""
RATES: Final = ("selection_rate", "tpr", "fpr")
UNKNOWN: Final = "unknown"

Slices = dict[str, dict[str, Any]]


def audit_of_history(settings: Settings) -> pd.DataFrame:
    """The audit attributes by user_id as `firstmile profiles import` last had them; empty where it never ran."""
    files = sorted((settings.history / AUDIT).glob("*.parquet"))
    if not files:
        return pd.DataFrame(columns=list(AUDIT_ATTRIBUTES), index=pd.Index([], name="user_id"), dtype=object)
    columns = ["user_id", EVENT_TIMESTAMP, *AUDIT_ATTRIBUTES]
    frame: pd.DataFrame = ds.dataset(files).to_table(columns=columns).sort_by(EVENT_TIMESTAMP).to_pandas()
    newest = frame.drop_duplicates("user_id", keep="last").set_index("user_id")
    return newest[list(AUDIT_ATTRIBUTES)].fillna(UNKNOWN)


def slices(model: str, y: IntArray, p: FloatArray, *, users: pd.DataFrame, audit: pd.DataFrame, seed: int) -> Slices:
    """Per attribute of one day's rows: figures by group with intervals, gaps between groups, groups too small.

    y
        Shape (n,); p of shape (n, n_classes).
    users
        n rows, columns user_id and cohort.
    audit
        As `audit_of_history` gives it.
    """
    ids, cohort = users["user_id"].to_numpy(str), users["cohort"].to_numpy(str)
    return cut(ids, audit, lambda rows: _group(model, y[rows], p[rows], cohort[rows], ids[rows], seed))


def cut(ids: TextArray, audit: pd.DataFrame, measure: Callable[[BoolArray], Figures]) -> Slices:
    """Per attribute: what `measure` says of the rows of each group that is large enough, gaps, groups too small.

    ids
        Shape (n,): whose each row is; a user has one.
    """
    result: Slices = {}
    for attribute in AUDIT_ATTRIBUTES:
        values = audit[attribute].reindex(ids).fillna(UNKNOWN).to_numpy(str)
        groups, small = {}, {}
        for value in sorted(set(values.tolist())):
            rows = values == value
            if rows.sum() < MIN_GROUP:
                small[value] = int(rows.sum())
                continue
            groups[value] = measure(rows)
        result[attribute] = {"groups": groups, "gaps": gaps(groups), "too_small": small}
    return result


def gaps(groups: dict[str, Figures]) -> Figures:
    """Greatest minus least over the groups: of the rates with two classes, of accuracy with more, of a ranker's NDCG.

    With `<name>_low` and `<name>_high` where both groups' figures have them: of the difference of these two groups, by
    G. Zou, A. Donner, Construction of confidence limits about effect measures, Statistics in Medicine 27 (2008), (2).

    >>> gaps({"F": {"tpr": 0.5}, "M": {"tpr": 0.75}, "X": {"tpr": float("nan")}})
    {'tpr': 0.25}
    """
    result: Figures = {}
    names = {name for figures in groups.values() for name in figures}
    for name in RATES if names & {*RATES} else ("accuracy", "ndcg_at_5"):
        known = sorted((f for f in groups.values() if not np.isnan(f.get(name, np.nan))), key=lambda f: f[name])
        if len(known) > 1:
            least, most = known[0], known[-1]
            result[name] = gap = most[name] - least[name]
            if f"{name}_low" in least and f"{name}_low" in most:
                below = np.hypot(most[name] - most[f"{name}_low"], least[f"{name}_high"] - least[name])
                above = np.hypot(most[f"{name}_high"] - most[name], least[name] - least[f"{name}_low"])
                result[f"{name}_low"], result[f"{name}_high"] = float(gap - below), float(gap + above)
    return result


def gap_figures(by_day: dict[int, Slices]) -> DayFigures:
    """Gaps as figures by day: `gap_tpr_gender`, `gap_tpr_gender_low` and so on."""
    found: DayFigures = {day: {} for day in by_day}
    for day, cut in by_day.items():
        for attribute, of in cut.items():
            for name, value in of["gaps"].items():
                rate, end = next(((name.removesuffix(e), e) for e in ENDS if name.endswith(e)), (name, ""))
                found[day][f"gap_{rate}_{attribute}{end}"] = value
    return found


def rates(y: IntArray, is_yes: BoolArray) -> Figures:
    """Share answered yes: of all (selection_rate), of those it came true for (tpr), of the others (fpr).

    Each with its interval, as `share` gives it. The last two are NaN for fewer than MIN_OUTCOMES people.

    >>> found = rates(np.repeat([1, 0], [40, 20]), np.repeat([True, False, True], [20, 20, 20]))
    >>> {name: round(value, 2) for name, value in found.items() if name.startswith("tpr")}
    {'tpr': 0.5, 'tpr_low': 0.35, 'tpr_high': 0.65}
    """
    result: Figures = {}
    for name, rows in (("selection_rate", np.ones(len(y), bool)), ("tpr", y == 1), ("fpr", y == 0)):
        if name == "selection_rate" or rows.sum() >= MIN_OUTCOMES:
            result |= share(name, int(is_yes[rows].sum()), int(rows.sum()))
        else:
            result[name] = float("nan")
    return result


def share(name: str, n_yes: int, n: int) -> Figures:
    """A share of people by name, with `_low` and `_high` at LEVEL.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).

    >>> {name: round(value, 3) for name, value in share("tpr", 9, 10).items()}
    {'tpr': 0.9, 'tpr_low': 0.596, 'tpr_high': 0.982}
    """
    low, high = binomtest(n_yes, n).proportion_ci(LEVEL, method="wilson")
    return {name: n_yes / n, f"{name}_low": float(low), f"{name}_high": float(high)}


def _group(model: str, y: IntArray, p: FloatArray, cohort: TextArray, users: TextArray, seed: int) -> Figures:
    zero = np.zeros(len(y), np.int64)
    figures = quality(y, p, cohort)
    figures |= intervals(y, p, day=zero, cohort=cohort, users=users, seed=seed)[0]
    if p.shape[1] == 2:
        return figures | rates(y, p[:, 1] >= TASKS[model].threshold)
    return figures | share("accuracy", int((p.argmax(axis=1) == y).sum()), len(y))

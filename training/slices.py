"""The same figures for each group of an audited attribute, and how far groups lie apart.

Audit attributes come from the tables at hand, never from a feature: they cut what was answered, they answer nothing.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from feature_repo.fields import AUDIT
from feature_repo.sources import EVENT_TIMESTAMP
from firstmile.names import AUDIT_ATTRIBUTES
from firstmile.oulad import OuladTables
from firstmile.settings import Settings
from training.bootstrap import intervals
from training.evaluate import quality
from training.figures import DayFigures, Figures
from training.split import BoolArray, FloatArray, IntArray, TextArray
from training.tasks import TASKS

MIN_GROUP: Final = 50
"""Users of a group on a day: fewer are named, not measured."""
MIN_OUTCOMES: Final = 20
"""People of a group it came true for (or not) without whom there is no rate: of 5 one alone moves it by 0.2."""
RATES: Final = ("selection_rate", "tpr", "fpr")
UNKNOWN: Final = "unknown"

Slices = dict[str, dict[str, Any]]


def audit_of(tables: OuladTables) -> pd.DataFrame:
    """The audit attributes by user_id, missing as `unknown`."""
    frame: pd.DataFrame = tables.info.select(["user_id", *AUDIT_ATTRIBUTES]).to_pandas()
    return frame.set_index("user_id").fillna(UNKNOWN)


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
        n rows, columns user_id and presentation.
    audit
        As `audit_of` gives it.
    """
    ids, presentation = users["user_id"].to_numpy(str), users["presentation"].to_numpy(str)
    return cut(ids, audit, lambda rows: _group(model, y[rows], p[rows], presentation[rows], ids[rows], seed))


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

    >>> gaps({"F": {"tpr": 0.5}, "M": {"tpr": 0.75}, "X": {"tpr": float("nan")}})
    {'tpr': 0.25}
    """
    result: Figures = {}
    names = {name for figures in groups.values() for name in figures}
    for name in RATES if names & {*RATES} else ("accuracy", "ndcg_at_5"):
        known = [f[name] for f in groups.values() if not np.isnan(f.get(name, np.nan))]
        if len(known) > 1:
            result[name] = max(known) - min(known)
    return result


def gap_figures(by_day: dict[int, Slices]) -> DayFigures:
    """Gaps as figures by day: `gap_tpr_gender` and so on."""
    return {
        day: {f"gap_{name}_{a}": value for a, found in cut.items() for name, value in found["gaps"].items()}
        for day, cut in by_day.items()
    }


def rates(y: IntArray, is_yes: BoolArray) -> Figures:
    """Share answered yes: of all (selection_rate), of those it came true for (tpr), of the others (fpr).

    The last two are NaN for fewer than MIN_OUTCOMES people.

    >>> rates(np.repeat([1, 0], [40, 20]), np.repeat([True, False, True], [20, 20, 20]))
    {'selection_rate': 0.6666666666666666, 'tpr': 0.5, 'fpr': 1.0}
    """

    def share(rows: BoolArray) -> float:
        return float(is_yes[rows].mean()) if rows.sum() >= MIN_OUTCOMES else float("nan")

    return {"selection_rate": float(is_yes.mean()), "tpr": share(y == 1), "fpr": share(y == 0)}


def _group(model: str, y: IntArray, p: FloatArray, presentation: TextArray, users: TextArray, seed: int) -> Figures:
    zero = np.zeros(len(y), np.int64)
    figures = quality(y, p, presentation)
    figures |= intervals(y, p, day=zero, presentation=presentation, users=users, seed=seed)[0]
    return figures | (rates(y, p[:, 1] >= TASKS[model].threshold) if p.shape[1] == 2 else {})

"""The shape quality figures travel in, from examination through MLflow to the gates: by day, by name."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

Figures = dict[str, float]
DayFigures = dict[int, Figures]

ENDS: Final = ("_low", "_high")
"""Of the names of an interval's ends."""


def metric_name(examination: str, day: int, figure: str) -> str:
    """The run metric a figure is logged under.

    >>> metric_name("later_start", 7, "auc")
    'later_start/day_7/auc'
    """
    return f"{examination}/day_{day}/{figure}"


def figures_of(metrics: Mapping[str, float], examination: str) -> DayFigures:
    """Figures by day out of a run's metrics: the inverse of `metric_name`; other metrics are left out.

    >>> figures_of({"later_start/day_7/auc": 0.8, "seconds": 3.0}, "later_start")
    {7: {'auc': 0.8}}
    """
    result: DayFigures = {}
    for name, value in metrics.items():
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == examination and parts[1].startswith("day_"):
            result.setdefault(int(parts[1].removeprefix("day_")), {})[parts[2]] = value
    return result


def mean_over_days(figures: Mapping[int, Figures], name: str, days: Sequence[int]) -> float:
    """Plain mean of a figure over days; NaN when it is missing or undefined on one of them.

    >>> mean_over_days({7: {"auc": 0.6}, 14: {"auc": 0.8}}, "auc", [7, 14])
    0.7
    """
    return math.fsum(figures.get(day, {}).get(name, math.nan) for day in days) / len(days)


def interval_text(figures: Figures, name: str) -> str:
    """A figure's interval in brackets, a blank before it; empty where there is none.

    >>> interval_text({"tpr": 0.5, "tpr_low": 0.4, "tpr_high": 0.6}, "tpr"), interval_text({"tpr": 0.5}, "tpr")
    (' [0.400, 0.600]', '')
    """
    low, high = (figures.get(f"{name}{end}", math.nan) for end in ENDS)
    return "" if math.isnan(low) or math.isnan(high) else f" [{low:.3f}, {high:.3f}]"

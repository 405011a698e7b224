"""Pictures of a version, as artifacts: calibration, ROC, which features matter, groups, a search. Drawn without a
display."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost as xgb
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from training.arrays import FloatArray, IntArray
from training.bootstrap import N_BINS
from training.dataset import TrainingSet
from training.examine import Answers
from training.figures import ENDS, DayFigures
from training.findings import Findings
from training.models import Fitted
from training.ranker_examine import BASELINES, NDCG

Vectors = npt.NDArray[np.floating[Any]]

N_SHOWN: Final = 15
"""Features in the picture of importance."""
N_EXPLAINED: Final = 500
"""Rows whose contributions are averaged."""


def draw_all(folder: Path, data: TrainingSet, fitted: Fitted, answers: Answers, findings: Findings) -> None:
    """calibration.png, roc.png, importance.png and groups.png of the judged examination's evaluated days."""
    users = data.users.iloc[answers.rows]
    kept = (users["judged_label"] >= 0).to_numpy(bool)
    kept &= users["day"].isin(data.task.evaluated_days).to_numpy(bool)
    y, p = users["judged_label"].to_numpy(np.int64)[kept], answers.p[kept]
    classes = data.task.classes
    _save(folder / "calibration.png", lambda ax: _calibration(ax, y, p, classes))
    _save(folder / "roc.png", lambda ax: _roc(ax, y, p, classes))
    _save(folder / "importance.png", lambda ax: _importance(ax, fitted.booster, data.rows.x))
    _save(folder / "groups.png", lambda ax: _groups(ax, findings, "auc"))


def draw_ranker(folder: Path, booster: xgb.Booster, x: Vectors, findings: Findings, judged_by: str) -> None:
    """ndcg.png, importance.png and groups.png of a ranker.

    x
        Vectors it was taught by, shape (n_rows, n_features).
    """
    _save(folder / "ndcg.png", lambda ax: _ndcg(ax, findings.figures[judged_by]))
    _save(folder / "importance.png", lambda ax: _importance(ax, booster, x))
    _save(folder / "groups.png", lambda ax: _groups(ax, findings, NDCG))


def draw_search(folder: Path, losses: Sequence[float]) -> None:
    """search.png: log loss of each trial in their order, the recipe's first, and the best so far."""

    def draw(ax: Axes) -> None:
        ax.plot(np.arange(1, len(losses) + 1), losses, ".", label="trial")
        ax.plot(
            np.arange(1, len(losses) + 1), np.minimum.accumulate(losses), drawstyle="steps-post", label="best so far"
        )
        ax.axhline(losses[0], color="0.7", linewidth=1, label="recipe")
        ax.set(xlabel="trial", ylabel="log loss, users not learned from", title="Search for parameters")
        ax.legend()

    _save(folder / "search.png", draw)


def contributions(booster: xgb.Booster, x: FloatArray) -> FloatArray:
    """Mean |contribution| of each feature to the booster's margin, shape (n_features,); over classes too.

    Source: Lundberg et al., Consistent individualized feature attribution for tree ensembles, 2018 (XGBoost's own
    pred_contribs).
    """
    matrix = xgb.DMatrix(x, feature_names=booster.feature_names, nthread=1)
    found = np.abs(booster.predict(matrix, pred_contribs=True))
    return np.asarray(found.reshape(-1, found.shape[-1])[:, :-1].mean(axis=0), np.float64)


def _chosen(classes: tuple[str, ...]) -> list[int]:
    """Classes drawn: of two the second alone."""
    return [1] if len(classes) == 2 else list(range(len(classes)))


def _calibration(ax: Axes, y: IntArray, p: FloatArray, classes: tuple[str, ...]) -> None:
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for k in _chosen(classes):
        bins = np.minimum((p[:, k] * N_BINS).astype(np.int64), N_BINS - 1)
        filled = np.unique(bins)
        said, came = ([float(v[bins == b].mean()) for b in filled] for v in (p[:, k], y == k))
        ax.plot(said, came, marker="o", label=classes[k])
    ax.set(xlabel="mean probability", ylabel="share that came true", title="Calibration, users not seen")
    ax.legend()


def _roc(ax: Axes, y: IntArray, p: FloatArray, classes: tuple[str, ...]) -> None:
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for k in _chosen(classes):
        if 0 < (y == k).sum() < len(y):
            wrong, right, _ = roc_curve(y == k, p[:, k])
            ax.plot(wrong, right, label=classes[k])
    ax.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, users not seen")
    ax.legend()


def _ndcg(ax: Axes, by_day: DayFigures) -> None:
    """The ranker beside the orders that know nothing of the user, by day, with intervals."""
    shown = {NDCG: "ranker", **{f"{NDCG}_{name}": name.replace("_", " ") for name in BASELINES}}
    at = np.arange(len(by_day))
    for i, (name, label) in enumerate(shown.items()):
        value, low, high = (np.array([f[f"{name}{end}"] for f in by_day.values()]) for end in ("", *ENDS))
        ax.errorbar(
            at + 0.1 * i, value, yerr=np.maximum([value - low, high - value], 0.0), fmt="o", capsize=3, label=label
        )
    ax.set_xticks(at, [f"day {day}" for day in by_day])
    ax.set(ylabel="NDCG@5, 95 % by bootstrap over users", title="Order of content, users not seen")
    ax.legend()


def _importance(ax: Axes, booster: xgb.Booster, x: Vectors) -> None:
    """Shares of the sum, by gain and by contribution, of the features that contribute most."""
    features = booster.feature_names or []
    by_contribution = contributions(booster, np.asarray(x[:: max(1, len(x) // N_EXPLAINED)], np.float64))
    gain = booster.get_score(importance_type="total_gain")
    by_gain = np.array([gain.get(name, 0.0) for name in features])
    top = np.argsort(by_contribution)[-N_SHOWN:]
    at = np.arange(len(top))
    for offset, values, label in ((0.2, by_contribution, "mean |contribution|"), (-0.2, by_gain, "gain")):
        ax.barh(at + offset, values[top] / max(values.sum(), 1e-12), height=0.4, label=label)
    ax.set_yticks(at, [features[i] for i in top])
    ax.set(xlabel="share of the sum", title="What the model goes by")
    ax.legend()


def _groups(ax: Axes, findings: Findings, name: str) -> None:
    """A figure with its interval of every group large enough, on the last evaluated day."""
    day = max(findings.groups, default=None)
    cut = {} if day is None else findings.groups[day]
    rows = [(f"{a}: {value}", f) for a, found in cut.items() for value, f in found["groups"].items()]
    for i, (_, figures) in enumerate(rows):
        ax.plot([figures[f"{name}{end}"] for end in ENDS], [i, i], color="0.5")
        ax.plot(figures[name], i, marker="o", color="C0")
    ax.set_yticks(range(len(rows)), [group for group, _ in rows])
    said = {"auc": "AUC", NDCG: "NDCG@5"}[name]
    ax.set(xlabel=f"{said}, 95 % by bootstrap over users", title=f"Groups, day {day}")


def _save(path: Path, draw: Callable[[Axes], None]) -> None:
    figure = Figure(figsize=(7, 5), layout="constrained")
    draw(figure.subplots())
    figure.savefig(path, dpi=90)

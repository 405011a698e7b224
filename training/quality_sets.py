"""Training sets as frames that expectations can be held against: their vectors, their labels, figures of both."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from firstmile.errors import DataError
from training.dataset import KEYS, TrainingSet
from training.quality_history import PRODUCT
from training.quality_last import SHARE
from training.tasks import TASKS

Sets = Mapping[str, TrainingSet]


def groups(sets: Sets) -> list[list[str]]:
    """Models by the features they read; those that read the same share vectors."""
    found: dict[tuple[str, ...], list[str]] = {}
    for model, data in sets.items():
        found.setdefault(data.features, []).append(model)
    return list(found.values())


def vector_frame(sets: Sets) -> pd.DataFrame:
    """One row per (user, instant) of any of the sets, one column per feature; the sets read the same features.

    Raises DataError for a matrix that is not as wide as its names.
    """
    frames = []
    for model, data in sets.items():
        if data.rows.x.shape != (len(data.users), len(data.features)):
            raise DataError(
                f"the vectors of {model} have shape {data.rows.x.shape} for {len(data.users)} users and "
                f"{len(data.features)} features; build the set with training_set()"
            )
        frames.append(pd.DataFrame(data.rows.x, columns=list(data.features)))
    keys = pd.concat([data.users[KEYS] for data in sets.values()], ignore_index=True)
    return pd.concat(frames, ignore_index=True)[~keys.duplicated()].reset_index(drop=True)


def label_frame(data: TrainingSet) -> pd.DataFrame:
    """The set's users, and the weight of each row."""
    return data.users.assign(weight=data.rows.weight)


def set_figures(sets: Sets, *, starts: Sequence[str] = (), is_product: bool = False) -> pd.DataFrame:
    """One row per model and cohort: of, n_rows, n_users, without_history, share_<model>_<class>.

    Of a cohort of `starts` of which nobody is in a set there is a row too: it may not vanish unseen. Of a product
    one row per model: its cohorts are cut anew in every run, so there is nothing to compare them with.

    `without_history` is of the model's labelled users over all its cohorts: the share that had no vector. Shares
    of another model's classes are missing.
    """
    return pd.DataFrame([row for model, data in sets.items() for row in _rows(model, data, starts, is_product)])


def _rows(model: str, data: TrainingSet, starts: Sequence[str], is_product: bool) -> list[dict[str, object]]:
    n_labelled = sum(counts.get("rows", 0) for counts in data.counts.values())
    n_unknown = sum(counts.get("left_out:no row in the history", 0) for counts in data.counts.values())
    classes = TASKS[model].classes
    rows: list[dict[str, object]] = []
    of_start = data.users.assign(cohort=PRODUCT) if is_product else data.users
    for name in sorted({*starts, *of_start["cohort"]}):
        users = of_start[of_start["cohort"] == name]
        labels = users["label"].to_numpy()
        of_whom = enumerate(classes if len(users) else ())
        shares = {f"{SHARE}{model}_{each}": float(np.mean(labels == i)) for i, each in of_whom}
        of = {"of": f"{model} {name}", "n_rows": len(users), "n_users": users["user_id"].nunique()}
        rows.append({**of, "without_history": n_unknown / max(n_labelled, 1), **shares})
    return rows

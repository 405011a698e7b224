"""The sets models learn from: labelled users at the last microsecond of day N, with what was known of them then.

Features come through Feast's point-in-time retrieval of the model's feature service: the very row, and the very
`windows`, that serving would have read at that instant.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from feature_repo.services import model_features, service_name
from feature_repo.sources import EVENT_TIMESTAMP
from firstmile.clock import MICROS_PER_DAY, iso
from firstmile.errors import DataError
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from training.arrays import BoolArray, IntArray
from training.labelled import Labelled
from training.models import Rows
from training.task import Task
from training.tasks import TASKS

KEYS = ["user_id", "now_us"]
PASSED_THROUGH = (EVENT_TIMESTAMP, "activity")
"""What Feast returns beside the features: the instant, and the packed row (missing: no row)."""


@dataclass(frozen=True)
class TrainingSet:
    """Stacked snapshots of one model.

    users
        Shape (n_rows,): columns user_id, cohort, person, day, label, judged_label, until_day, now_us; in the
        order of rows.
    rows
        What the booster sees, columns in the order of `features`.
    counts
        Per day: the population, and who was left out of it and why.
    task
        What is asked, and when.
    """

    model: str
    features: tuple[str, ...]
    users: pd.DataFrame
    rows: Rows
    counts: dict[int, dict[str, int]]
    task: Task

    def where(self, chosen: BoolArray) -> "TrainingSet":
        """The chosen rows; counts stay those of the whole."""
        return replace(self, users=self.users[chosen].reset_index(drop=True), rows=self.rows.where(chosen))

    def description(self) -> dict[str, Any]:
        """Row and user counts, time range, and a hash that changes when any row, label or feature does."""
        digest = hashlib.sha256("\n".join(self.features).encode())
        digest.update("\n".join(self.users["user_id"]).encode())
        for column in ("now_us", "label"):
            digest.update(self.users[column].to_numpy(np.int64).tobytes())
        digest.update(np.ascontiguousarray(self.rows.x).tobytes())
        return {
            "n_rows": len(self.users),
            "n_users": int(self.users["user_id"].nunique()),
            "cohorts": sorted(set(self.users["cohort"])),
            "from": iso(int(self.users["now_us"].min())),
            "to": iso(int(self.users["now_us"].max())),
            "sha256": digest.hexdigest(),
        }

    def trained_until_us(self) -> int:
        """The last instant any label of the set looked at."""
        return int(self.known_us().max())

    def known_us(self) -> IntArray:
        """The last instant each row's label looked at, shape (n_rows,)."""
        ahead_us = (self.users["until_day"] - self.users["day"]) * MICROS_PER_DAY
        return (self.users["now_us"] + ahead_us).to_numpy(np.int64)

    def began_us(self) -> IntArray:
        """When each row's onboarding began, shape (n_rows,)."""
        return (self.users["now_us"] + 1 - (self.users["day"] + 1) * MICROS_PER_DAY).to_numpy(np.int64)


def snapshots(labelled: Sequence[Labelled]) -> pd.DataFrame:
    """Every (user, instant) that any of the sets needs, once: user_id, now_us, event_timestamp.

    Both times are the last microsecond of day N: a row counts from the moment it was known (`received_at`), so what
    happened before but was received after is not seen.
    """
    rows = pd.concat([each.rows[KEYS] for each in labelled]).drop_duplicates(ignore_index=True)
    rows[EVENT_TIMESTAMP] = pd.to_datetime(rows["now_us"], unit="us", utc=True)
    return rows


def vectors(store: Any, labelled: Mapping[str, Labelled]) -> dict[str, pd.DataFrame]:
    """Each model's vectors for the users of its labels; models reading the same features share one retrieval.

    A vector depends on user and instant alone, so what else is retrieved beside it changes nothing.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for model in labelled:
        groups.setdefault(tuple(model_features(model)), []).append(model)
    result: dict[str, pd.DataFrame] = {}
    for models in groups.values():
        frame = retrieve(store, models[0], snapshots([labelled[m] for m in models]))
        result.update(dict.fromkeys(models, frame))
    return result


def retrieve(store: Any, model: str, entities: pd.DataFrame) -> pd.DataFrame:
    """The model's vector for each entity row, point in time; indexed by (user_id, now_us), columns in vector order.

    Whoever has no row in the history by then is missing: there was nothing to know.

    store
        A feast.FeatureStore.
    entities
        As `snapshots` gives them.
    """
    service = store.get_feature_service(service_name(model))
    frame: pd.DataFrame = store.get_historical_features(entities, service).to_df()
    indexed = frame.set_index(KEYS)
    if indexed.index.has_duplicates or len(indexed) != len(entities):
        raise DataError(
            f"the offline store answered {len(indexed)} rows for {len(entities)} users and instants; its history holds "
            "two rows of a user with one time: backfill again with --fresh"
        )
    features = model_features(model)
    check_columns([c for c in indexed.columns if c not in PASSED_THROUGH], features)
    return indexed.loc[indexed["activity"].notna(), features].astype(np.float64)


def check_columns(columns: Sequence[str], features: Sequence[str]) -> None:
    """Refuse a vector that is not exactly the model's features, or that an audit attribute could enter.

    Raises DataError.
    """
    audit = sorted(c for c in {*columns, *features} if any(c == a or c.endswith(f"__{a}") for a in AUDIT_ATTRIBUTES))
    if audit:
        raise DataError(f"audit attributes are not model inputs, but the vector has {', '.join(audit)}: take them out")
    missing, unknown = sorted(set(features) - set(columns)), sorted(set(columns) - set(features))
    if missing or unknown:
        raise DataError(
            f"the vector is not the one the feature service promises: missing {missing}, not expected {unknown}; "
            "run `feast -c feature_repo apply` so that registry and code agree"
        )


def training_set(model: str, labelled: Labelled, vectors: pd.DataFrame, task: Task | None = None) -> TrainingSet:
    """Labels beside vectors; a user's rows share a weight of 1, so a user seen six times counts once.

    Labelled users without a vector are left out, and counted.

    vectors
        As `retrieve` gives them; rows of other models' users may be among them.
    task
        None: the model's own of tasks.py.

    Raises DataError when nobody is left to learn from.
    """
    users = labelled.rows.copy()
    is_known = pd.MultiIndex.from_frame(users[KEYS]).isin(vectors.index)
    counts = {
        day: {**found, "left_out:no row in the history": int((~is_known & (users["day"] == day)).sum())}
        for day, found in labelled.counts.items()
    }
    users = users[is_known].reset_index(drop=True)
    if users.empty:
        raise DataError(
            f"nobody is left to learn {model} from: {counts}; bring in more of the past, or wait until more is known"
        )
    x = vectors.loc[pd.MultiIndex.from_frame(users[KEYS])].to_numpy(np.float64)
    weight = 1.0 / users.groupby("user_id")["user_id"].transform("size").to_numpy(np.float64)
    rows = Rows(
        x,
        users["label"].to_numpy(np.int64),
        weight,
        users["person"].to_numpy(np.int64),
        users["cohort"].to_numpy(str),
    )
    return TrainingSet(model, tuple(vectors.columns), users, rows, counts, task or TASKS[model])

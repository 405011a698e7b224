"""A made-up product's users in an event lake, as the archive writes it: who is eager creates a project and stays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from firstmile.clock import MICROS_PER_DAY
from firstmile.names import ENRICHED, USER_ACTIONS
from firstmile.settings import Settings
from pipelines.lake import Lake

FAMILY = {"Signed Up": "step_complete", "Content Opened": "content_open", "Project Created": "feature_use"}
MAP = pa.map_(pa.string(), pa.string())
SIGN_UPS_DAYS, SEEN_DAYS = 40, 50
"""Users sign up in so many days; the last of them was seen for so many more."""


@dataclass(frozen=True)
class Product:
    """Its events: columns user_id, name, event_us, received_us; and the last instant anybody was looked at."""

    events: pd.DataFrame
    ends_us: int


def made_product(n_users: int, *, ends_us: int, seed: int = 0) -> Product:
    """Users whose eagerness decides how often they come, whether they create a project, and whether they stay away."""
    rng = np.random.default_rng(seed)
    first_us = ends_us - (SIGN_UPS_DAYS + SEEN_DAYS) * MICROS_PER_DAY
    rows: list[tuple[str, str, int]] = []
    for i in range(n_users):
        eager = rng.uniform()
        began_us = first_us + int((i + rng.uniform()) / n_users * SIGN_UPS_DAYS * MICROS_PER_DAY)
        stays_days = SEEN_DAYS if rng.uniform() < 0.3 + 0.7 * eager else int(rng.integers(3, 20))
        rows.append((f"p{i}", "Signed Up", began_us))
        n_visits = rng.poisson((0.2 + 1.3 * eager) * stays_days)
        visits = began_us + (rng.uniform(0.01, stays_days, n_visits) * MICROS_PER_DAY).astype(np.int64)
        rows.extend((f"p{i}", "Content Opened", int(at)) for at in visits)
        if rng.uniform() < eager:
            rows.append((f"p{i}", "Project Created", began_us + int(rng.uniform(2, 27.5) * MICROS_PER_DAY)))
    events = pd.DataFrame(rows, columns=["user_id", "name", "event_us"]).sort_values("event_us", ignore_index=True)
    events = events[events["event_us"] < ends_us].assign(received_us=events["event_us"] + 1_000_000)
    # Somebody always does something: the lake reaches to the end.
    last = pd.DataFrame([("nobody", "Page Viewed", ends_us - 1, ends_us)], columns=events.columns)
    return Product(pd.concat([events, last], ignore_index=True), ends_us)


def write_product(settings: Settings, product: Product) -> None:
    """Commit it to the lake of the settings' home."""
    frame, n = product.events, len(product.events)
    texts: dict[str, Any] = dict.fromkeys(("page", "step", "field", "target", "anonymous_id"), pa.nulls(n, pa.string()))
    opened = frame["name"] == "Content Opened"
    columns: dict[str, Any] = {
        "enriched_partition": pa.array(np.zeros(n), pa.int32()),
        "source_topic": [USER_ACTIONS] * n,
        "source_topic_id": ["made-up"] * n,
        "source_partition": pa.array(np.zeros(n), pa.int32()),
        "source_offset": pa.array(np.arange(n), pa.int64()),
        "message_id": [f"m{i}" for i in range(n)],
        "user_id": frame["user_id"].tolist(),
        "name": frame["name"].tolist(),
        "event_us": frame["event_us"].tolist(),
        "received_us": frame["received_us"].tolist(),
        "is_clamped": [False] * n,
        "weight": pa.array(np.ones(n), pa.int64()),
        "content_id": [f"c{i % 7}" if is_open else None for i, is_open in enumerate(opened)],
        "format": pa.array(["guide" if is_open else None for is_open in opened], pa.string()),
        "family": pa.array([FAMILY.get(name, "page_view") for name in frame["name"]], pa.string()),
        "segment": ["unknown/new"] * n,
        "properties": pa.array([[("format", "guide")] if is_open else [] for is_open in opened], MAP),
        "profile_version": pa.nulls(n, pa.int64()),
        "profile": pa.array([[]] * n, MAP),
        **texts,
    }
    Lake(settings.lake).commit(pa.table(columns), {(ENRICHED, 0): n}, topic_id="made-up")

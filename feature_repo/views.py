"""The Feast views. `user_activity` is the packed row; readable features come from `activity_windows` over it."""

import inspect
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
from feast import Entity, FeatureView, Field
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Bytes, Float64, Int64, String

from feature_repo.activity import FEATURE_NAMES
from feature_repo.entities import content, user
from feature_repo.fields import (
    ACTIVITY,
    AUDIT,
    BY_SEGMENT,
    CONTENT,
    CONTENT_COUNTS,
    CONTEXT,
    CONTEXT_STRINGS,
    CONTEXT_TIME,
    CONTEXT_TIMES,
    OPENINGS,
    PROFILE,
    PROFILE_INTEGERS,
    PROFILE_REALS,
    PROFILE_STRINGS,
    PROFILE_TIME,
    PROFILE_TIMES,
    WINDOWS,
)
from feature_repo.sources import history_source, instant
from firstmile.settings import Settings
from firstmile.vocabulary import AUDIT_ATTRIBUTES


@dataclass(frozen=True)
class Views:
    """All views over one set of sources; `audit` is empty for a product that audits nothing."""

    activity: FeatureView
    profile: FeatureView
    context: FeatureView
    audit: tuple[FeatureView, ...]
    windows: Any
    content: FeatureView


def window_features(inputs: pd.DataFrame) -> pd.DataFrame:
    """`windows` for Feast, online and in training alike. Feast runs this text with only pd and np in scope."""
    from feature_repo.frame import windows_frame

    return windows_frame(inputs)


def build_views(settings: Settings) -> Views:
    """Views whose history lies under the settings' home. ttl is 0: a row does not expire, it is as old as its user."""

    def view(name: str, fields: list[Field], *, online: bool = True, of: Entity = user) -> FeatureView:
        source = history_source(settings, name)
        return FeatureView(name=name, entities=[of], ttl=timedelta(0), schema=fields, source=source, online=online)

    activity = view(ACTIVITY, [Field(name="activity", dtype=Bytes), Field(name="applied", dtype=Bytes)])
    profile = view(
        PROFILE,
        [
            *(Field(name=n, dtype=String) for n in PROFILE_STRINGS),
            *(Field(name=n, dtype=Int64) for n in PROFILE_INTEGERS),
            *(Field(name=n, dtype=Float64) for n in PROFILE_REALS),
            Field(name=PROFILE_TIME, dtype=Int64),
            Field(name=PROFILE_TIMES, dtype=String),
        ],
    )
    context = view(
        CONTEXT,
        [
            *(Field(name=n, dtype=String) for n in CONTEXT_STRINGS),
            Field(name=CONTEXT_TIME, dtype=Int64),
            Field(name=CONTEXT_TIMES, dtype=String),
        ],
    )
    attributes = [Field(name=n, dtype=String) for n in AUDIT_ATTRIBUTES]
    audit = (view(AUDIT, attributes, online=False),) if attributes else ()  # of none Feast would ask the files
    # Not Feast's decorator: it renames the function's module, so that a second store in one process finds no source.
    windows = OnDemandFeatureView(
        name=WINDOWS,
        sources=[activity[["activity"]], instant],
        schema=[Field(name=n, dtype=Float64) for n in FEATURE_NAMES],
        mode="pandas",
        udf=window_features,
        udf_string=inspect.getsource(window_features),
        description="Counts, sessions and ages at the instant asked about",
    )
    counts = [Field(name=n, dtype=Int64) for n in CONTENT_COUNTS]
    statistics = view(
        CONTENT, [*counts, Field(name=BY_SEGMENT, dtype=String), Field(name=OPENINGS, dtype=String)], of=content
    )
    return Views(activity, profile, context, audit, windows, statistics)

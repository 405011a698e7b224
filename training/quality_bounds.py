"""The bounds of the data quality gate, as quality.yaml has them: what to edit when data has a reason to differ."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from feature_repo.fields import (
    ACTIVITY,
    AUDIT,
    CONTENT,
    CONTEXT,
    PROFILE,
    PROFILE_NUMBERS,
    PROFILE_STRINGS,
    PROFILE_TIME,
    PROFILE_TIMES,
)
from firstmile.documents import Document, read_document
from firstmile.errors import DataError, unknown_name
from firstmile.vocabulary import PROFILE as WORDS
from firstmile.vocabulary import Profile

VIEWS = (ACTIVITY, PROFILE, CONTEXT, AUDIT, CONTENT)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"{list(pair)} must be [least, most]")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]
Types = dict[str, str]
"""Arrow type by column."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureBounds(_Section):
    """Of every feature whose name fits the pattern."""

    names: str = Field(min_length=1)
    between: Range | None = None
    max_missing: Share


class LabelBounds(_Section):
    """Of the classes' shares in a cohort; `shares` by model and class are the product's, from labels.yaml."""

    otherwise: Range
    shares: Mapping[str, Mapping[str, Range]] = {}
    max_change: Share
    max_without_history: Share

    def of_class(self, model: str, name: str) -> Range:
        """Bounds of a class's share."""
        return self.shares.get(model, {}).get(name, self.otherwise)


class VolumeBounds(_Section):
    """How much there must be, and how much of what there was."""

    min_users: int = Field(ge=1)
    against_last: Range


class HistoryBounds(_Section):
    """Of the offline history; columns by view."""

    columns: Mapping[str, Types]
    row_bytes: Range
    max_days_short: float = Field(ge=0)


class LakeBounds(_Section):
    """Of the event lake."""

    columns: Types
    weight: Range
    max_unknown: Share
    max_age_hours: float = Field(gt=0)


class RankingBounds(_Section):
    """Of the ranker's set: shares in a cohort, and its features."""

    opened_share: Range
    max_lost: Share
    features: tuple[FeatureBounds, ...]


class Bounds(_Section):
    """All of quality.yaml."""

    max_odd_users: Share = 0.01
    features: tuple[FeatureBounds, ...]
    labels: LabelBounds
    volume: VolumeBounds
    history: HistoryBounds
    lake: LakeBounds
    ranking: RankingBounds

    def of_feature(self, name: str) -> FeatureBounds:
        """The first line of `features` that fits. Raises DataError when none does."""
        return _fitting(name, self.features, "features")

    def of_ranker_feature(self, name: str) -> FeatureBounds:
        """The first line of `ranking: features` that fits. Raises DataError when none does."""
        return _fitting(name, self.ranking.features, "ranking: features")


def read_bounds(path: Path) -> Bounds:
    """The bounds of a YAML file. Raises DataError naming the line that is wrong, and what it may be."""
    document = read_document(path)
    bounds = document.parse(Bounds)
    _check_names(document, bounds)
    return bounds


def _fitting(name: str, lines: tuple[FeatureBounds, ...], where: str) -> FeatureBounds:
    for line in lines:
        if fnmatchcase(name, line.names):
            return line
    raise DataError(
        f"no pattern under `{where}` fits {name}; there are {', '.join(line.names for line in lines)}. "
        'Add a line for it, or {names: "*", max_missing: 1} as the last to let everything pass'
    )


def product_bounds(bounds: Bounds, shares: Mapping[str, Mapping[str, Range]], profile: Profile = WORDS) -> Bounds:
    """The bounds for a product's users: shares of its own labels, and its traits by profile.yaml.

    shares
        By model and class.
    """
    traits = [
        FeatureBounds(names=name, between=trait.between, max_missing=trait.max_missing)
        for name, trait in profile.traits.items()
        if trait.kind != "text"
    ]
    labels = bounds.labels.model_copy(update={"shares": shares})
    formats = FeatureBounds(names="format", between=(0, len(profile.formats) - 1), max_missing=0)
    ranking = bounds.ranking.model_copy(update={"features": (formats, *bounds.ranking.features)})
    return bounds.model_copy(update={"features": (*traits, *bounds.features), "labels": labels, "ranking": ranking})


def profile_types() -> Types:
    """What the history of user_profile has, by the traits of profile.yaml."""
    kinds = {"text": "string", "integer": "int64", "number": "double"}
    traits = {name: kinds[WORDS.traits[name].kind] for name in (*PROFILE_STRINGS, *PROFILE_NUMBERS)}
    times = {"event_timestamp": "timestamp[us, tz=UTC]", PROFILE_TIME: "int64", PROFILE_TIMES: "string"}
    return {"user_id": "string", **traits, **times}


def _check_names(document: Document, bounds: Bounds) -> None:
    for view in bounds.history.columns:
        if view not in VIEWS:
            document.refuse(("history", "columns", view), unknown_name("view", view, VIEWS))
    if bounds.labels.shares:
        document.refuse(("labels", "shares"), "shares of a product's classes belong into its labels.yaml")

"""Reads the words of the product this process serves, once, at import: profile.yaml, and the models of labels.yaml.

The lists are constants of the process. They decide how rows are packed, which fields the Feast views have and what the
API's document allows, so a process serves one product: the one FIRSTMILE_PRODUCT names. Without the file they are
those of `Profile`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from firstmile.documents import Document, read_document
from firstmile.errors import unknown_name
from firstmile.names import FAMILIES, ONLINE_MODEL, RANKER
from firstmile.product import current_product, product_file
from firstmile.settings import Settings

OTHER: Final = "other"
"""The format of content whose own is not known; every product has it."""
SOURCE: Final = "source"
ABOUT: Final = "about"
YES_NO: Final = ("no", "yes")
WINDOWS: Final = ("1m", "5m", "30m", "1h", "24h", "7d", "30d", "total")
RESERVED_TRAITS: Final = frozenset(
    {"user_id", "event_timestamp", "now_us", "activity", "applied", "profile_updated_us", "profile_times"}
)
"""Columns that stand beside traits."""
RESERVED_FLOWS: Final = frozenset({"default"})
"""The flow of an answer that nothing was decided for."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

Kind = Literal["text", "integer", "number"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trait(_Section):
    """One trait of a profile.

    kind
        text: rules look at it. integer, number: models read it too.
    between, max_missing
        Bounds of the data quality gate: least and most value, and the share of users who may not have it.
    """

    kind: Kind
    between: tuple[float, float] | None = None
    max_missing: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _is_bounded(self) -> "Trait":
        if self.between is not None and (self.kind == "text" or self.between[0] > self.between[1]):
            raise ValueError(f"between is [least, most] of a number, not {list(self.between)} of kind {self.kind}")
        return self


class ModelFeatures(_Section):
    """What models read of a user's activity: counts per family and window, and opens per format."""

    families: tuple[str, ...] = (
        "page_view",
        "content_open",
        "content_complete",
        "form_submit",
        "step_complete",
        "feature_use",
    )
    windows: tuple[str, ...] = ("24h", "7d", "30d", "total")
    formats: tuple[str, ...] = ()


class Flow(_Section):
    """How a flow orders content where no rule says more: the weights of a liked format, a fitting level and an early
    place in the catalogue, which add up to 1.

    alternates
        Whether formats take turns.
    """

    format: float = Field(0.4, ge=0)
    level: float = Field(0.2, ge=0)
    order: float = Field(0.4, ge=0)
    alternates: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> "Flow":
        if abs(self.format + self.level + self.order - 1) > 1e-9:
            raise ValueError(f"format, level and order add up to {self.format + self.level + self.order:g}, not to 1")
        return self


class Stages(_Section):
    """When an onboarding counts as activated, stalled or active; `stage` of rules.yaml says the same in its own words.

    activated_by
        The action family of which one event is enough.
    """

    activated_by: str = "form_submit"
    stalled_days: int = Field(7, ge=1)
    active_clicks: int = Field(5, ge=1)


def _trait(said: Any) -> Any:
    return {"kind": said} if isinstance(said, str) else said


class Profile(_Section):
    """All of profile.yaml.

    formats
        Of content, in the order of the packed row: append only.
    levels
        Of skill, rising.
    flows
        What rules may answer as `flow`, and how each orders content.
    traits
        Of the profile, by name.
    shelf
        The text trait whose value names the catalogue a user is shown from; empty: there is one for all.
    audit
        Attributes kept for monitoring alone: never a trait, a rule's condition or a feature.
    """

    formats: tuple[str, ...] = ("community", "document", "guide", "lesson", "quiz", "video", OTHER)
    levels: tuple[str, ...] = Field(("beginner", "intermediate", "advanced"), min_length=2)
    flows: Mapping[str, Flow] = Field({"balanced": Flow(alternates=True)}, min_length=1)
    traits: Mapping[str, Annotated[Trait, BeforeValidator(_trait)]] = {
        name: Trait(kind="text") for name in ("product", "cohort", "plan", "role")
    }
    shelf: str = ""
    audit: tuple[str, ...] = ()
    stages: Stages = Stages()
    features: ModelFeatures = ModelFeatures()

    def of_kind(self, *kinds: Kind) -> tuple[str, ...]:
        """Names of the traits of these kinds."""
        return tuple(name for name, trait in self.traits.items() if trait.kind in kinds)


def read_profile(path: Path) -> Profile:
    """The words of a profile.yaml. Raises FileError naming the line that is wrong, and what it may be."""
    document = read_document(path)
    profile = document.parse(Profile)
    for key in ("formats", "levels", "flows", "traits", "audit"):
        _check_list(document, key, list(getattr(profile, key)))
    for key, reserved in (("flows", RESERVED_FLOWS), ("traits", RESERVED_TRAITS)):
        for name in reserved & {*getattr(profile, key)}:
            document.refuse((key, name), f"{name!r} is a name of Firstmile's own; choose another")
    if OTHER not in profile.formats:
        document.refuse(("formats",), f"needs {OTHER!r}: the format of content whose own is not known")
    for i, name in enumerate(profile.audit):
        if name in profile.traits:
            document.refuse(("audit", i), f"{name!r} is a trait too: an audit attribute may reach no rule and no model")
    if profile.shelf and profile.shelf not in profile.of_kind("text"):
        document.refuse(("shelf",), unknown_name("text trait", profile.shelf, profile.of_kind("text")))
    if profile.stages.activated_by not in FAMILIES:
        document.refuse(("stages", "activated_by"), unknown_name("family", profile.stages.activated_by, FAMILIES))
    lists = (("families", "family", FAMILIES), ("windows", "window", WINDOWS), ("formats", "format", profile.formats))
    for key, one, allowed in lists:
        names = getattr(profile.features, key)
        for i, name in enumerate(names):
            if name not in allowed:
                document.refuse(("features", key, i), unknown_name(one, name, allowed))
            if name in names[:i]:
                document.refuse(("features", key, i), f"{name!r} is named twice")
    return profile


def _check_list(document: Document, key: str, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        place = (key, name) if key in ("traits", "flows") else (key, i)
        if not _NAME.fullmatch(name.replace("-", "_") if key == "flows" else name):
            document.refuse(place, f"{name!r} is no name: small letters, digits and _, beginning with a letter")
        if name in names[:i]:
            document.refuse(place, f"{name!r} is named twice")


def read_models(path: Path, formats: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The classes of every model that a labels.yaml declares, in the file's order; what else it says is training's.

    Raises FileError for a file that is no mapping, or a name that no model may have.
    """
    document = read_document(path)
    if not isinstance(document.data, Mapping):
        document.refuse((), "must say what each model learns: `<model>: {…}`")
    models = [model for model in document.data if model not in (SOURCE, ABOUT)]
    for model in models:
        if not _NAME.fullmatch(str(model)) or model in (RANKER, ONLINE_MODEL):
            document.refuse(
                (model,),
                f"{model!r} cannot be a model's name: small letters, digits and _, and not {RANKER} or {ONLINE_MODEL}",
            )
    if not models:
        document.refuse((), "no label is defined; name a model, or take the file away")
    found = {model: classes_of(document.data[model], formats) for model in models}
    for model, classes in found.items():
        _check_classes(document, model, classes)
    return found


def _check_classes(document: Document, model: str, classes: Sequence[Any]) -> None:
    if len({*classes}) < len(classes) or len(classes) < 2:
        document.refuse((model,), f"{model} must say one of two or more classes, each named once; not {list(classes)}")
    for name in classes:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problem = f"{name!r} cannot be a class of {model}: small letters, digits and _"
            hint = "; in quotes, since YAML reads yes and no as true and false" if isinstance(name, bool) else ""
            document.refuse((model,), problem + hint)


def classes_of(said: Any, formats: Sequence[str]) -> tuple[Any, ...]:
    """The classes of a label by its keys, in the booster's order.

    >>> classes_of({"levels": {"small": None, "large": {}}}, ()), classes_of({"reached": {}}, ())
    (('small', 'large'), ('no', 'yes'))
    """
    if not isinstance(said, Mapping):
        return YES_NO
    if "levels" in said and isinstance(said["levels"], Mapping):
        return tuple(said["levels"])
    if isinstance(said.get("classes"), list | tuple):
        return tuple(said["classes"])
    if "for_days" in said and "none_of" not in said and isinstance(said.get("formats") or (), list | tuple):
        return tuple(said.get("formats") or (f for f in formats if f != OTHER))
    return YES_NO


def _profile() -> Profile:
    path = product_file(current_product(), "profile")
    return read_profile(path) if path.exists() else Profile()


PROFILE: Final = _profile()
FORMATS: Final = PROFILE.formats
SKILL_LEVELS: Final = PROFILE.levels
FLOWS: Final = tuple(PROFILE.flows)
AUDIT_ATTRIBUTES: Final = PROFILE.audit
READ_FORMATS: Final = PROFILE.features.formats or tuple(f for f in FORMATS if f != OTHER)
"""The formats whose opens models read."""


def models_of(product: Path) -> dict[str, tuple[str, ...]]:
    """Classes by model of a product; none without labels.yaml."""
    path = product_file(product, "labels")
    return read_models(path, FORMATS) if path.exists() else {}


ALL_CLASSES: Final = models_of(current_product())
MODELS: Final = tuple(ALL_CLASSES)
TRAINED: Final = (*MODELS, RANKER)
"""What `firstmile train` makes; the ranker answers to many vectors at once, and an answer is whole without it."""
CLASSES: Final = {model: classes for model, classes in ALL_CLASSES.items() if classes != YES_NO}
"""Models with a probability per class, in the booster's order; the others give one, of yes."""


def check(settings: Settings, found: Mapping[str, Any]) -> dict[str, Any]:
    """What `firstmile product check` says of a product's words. Raises FileError for a mistake in profile.yaml."""
    profile = read_profile(settings.product_file("profile"))
    reads = profile.features
    return {
        "traits": {name: trait.kind for name, trait in profile.traits.items()},
        "audited": list(profile.audit),
        "models_read": {"families": list(reads.families), "windows": list(reads.windows)},
    }

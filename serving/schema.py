"""The form of answers and errors, for the OpenAPI document: what is sent is made by `answers` and not checked."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from firstmile.names import RUNGS, STAGES
from firstmile.vocabulary import FLOWS, FORMATS, SKILL_LEVELS
from serving.exposures import SHOWN
from serving.rules import DEFAULT_FLOW

Probability = Annotated[float, Field(ge=0, le=1)]
SkillLevel = Annotated[str, Field(json_schema_extra={"enum": [*SKILL_LEVELS]})]
Format = Annotated[str, Field(json_schema_extra={"enum": [*FORMATS]})]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Segment(_Part):
    """Who the user is for the rules."""

    skill_level: SkillLevel | None = Field(description="null: the product has no model of it")
    stage: str = Field(json_schema_extra={"enum": [*STAGES]})
    confidence: Probability | None = Field(
        description="the model's probability of this skill level, 0 where it did not answer; null: there is none"
    )


class Preference(_Part):
    """How likely the user is to use a content format."""

    format: Format
    probability: Probability


class RecommendedContent(_Part):
    """One thing to show."""

    content_id: str
    title: str
    format: Format
    level: str | None
    step: str | None
    url: str
    score: float
    reason: str = Field(description="the rule that put it here, or what its score is made of")


class ExperimentArm(_Part):
    """What the user takes part in."""

    name: str | None = Field(description="null for users in no experiment")
    arm: str
    token: str | None = Field(
        description="what POST /exposure takes, so that any worker knows the arm; null: no key of the server is secret"
    )


class ExplainedMove(_Part):
    """One feature's part in a score."""

    feature: str
    value: float | None
    contribution: float = Field(description="by how much it moved the score's log-odds, before calibration")
    direction: str = Field(json_schema_extra={"enum": ["up", "down"]})


class ExplanationPart(_Part):
    """What moved the scores most."""

    moved: dict[str, list[ExplainedMove]] = Field(description="by `model` or `model:class`, the strongest first")
    reason: str = Field("", description="why nothing is explained; only then given")


class ExposureTaken(_Part):
    """It will be counted."""

    request_id: str
    kind: str = Field(json_schema_extra={"enum": [SHOWN]})


class PersonalizationAnswer(_Part):
    """What this user should see next, how sure we are, and what the answer rests on."""

    request_id: str
    user_id: str = Field(description="as asked; of an anonymous visitor the anonymous_id")
    segment: Segment
    preferences: list[Preference] | None = Field(
        description="greatest probability first; null: the product has no model of it"
    )
    activation_probability: Probability | None
    predictions: dict[str, Probability] = Field(
        description="of the product's other models: the probability of yes by model, or of a class by `model:class`"
    )
    flow: str = Field(json_schema_extra={"enum": [*FLOWS, DEFAULT_FLOW]})
    recommended_content: list[RecommendedContent] = Field(description="best first, at most `limit`")
    experiment: ExperimentArm
    rung: str = Field(json_schema_extra={"enum": [*RUNGS]}, description="the step of the ladder that answered")
    fallback: bool = Field(description="whether the rung is below what the experiment's arm intends")
    reasons: list[str] = Field(description="why no higher rung answered")
    models: dict[str, str] = Field(description="versions of the models that answered")
    feature_lag_ms: float | None = Field(description="how far this user's features are behind; null: not known")
    latency_ms: float
    explanation: ExplanationPart | None = Field(None, description="only if `explain` was asked for")


class ErrorDetail(_Part):
    """What is wrong, for programs and for people."""

    code: str
    message: str = Field(description="what happened")
    hint: str = Field(description="what to do")


class ErrorAnswer(_Part):
    """Every answer that is not 200."""

    error: ErrorDetail

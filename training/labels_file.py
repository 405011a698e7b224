"""labels.yaml: what a product's models learn to say, one entry per model, in the names of the product's own events.

Read and checked as a whole; every complaint names the line. labels_events.py makes labels of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from firstmile.documents import Document, Place, read_document
from firstmile.errors import unknown_name
from firstmile.hooks import Hook
from firstmile.names import FAMILIES
from firstmile.settings import Settings
from firstmile.vocabulary import ABOUT, FORMATS, SKILL_LEVELS, SOURCE, YES_NO, classes_of, read_models
from training.quality_bounds import Range
from training.task import Task

Days = Annotated[int, Field(ge=1, le=365)]
SIGNED_UP: Final = "Signed Up"
ALL_DAYS: Final = (0, 1, 3, 7, 14, 28)
SAYS: Final = {"for": 1, "against": -1, "either": 0}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Which(_Section):
    """Events by name or by action family, or any; and how many of them it takes."""

    events: Literal["any"] | tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    count: int = Field(1, ge=1)

    @field_validator("events", "families", mode="before")
    @classmethod
    def _one(cls, said: Any) -> Any:
        """One name may stand without brackets."""
        return (said,) if isinstance(said, str) and said != "any" else said

    def text(self) -> str:
        """In words.

        >>> Which(events=("Project Created",), count=2).text()
        '2 of Project Created'
        """
        return f"{self.count} of {self.named()}"

    def named(self) -> str:
        """Without the number."""
        return "any event" if self.events == "any" else " or ".join((*self.events, *self.families))


class LabelSpec(_Section):
    """What all labels have.

    question
        In words, for the model card; empty: made of the rest.
    since
        The onboarding begins with the first of these events.
    has, has_not
        Who is asked: users with, and without, these events by the end of day N.
    snapshot_days, evaluated_days
        Days N to learn from and to be judged on; empty: the form's own that the horizon allows.
    delay_days
        From an event to its being known.
    shares
        Bounds of the classes' shares among the labels; a class that is not named: `otherwise` of quality.yaml.
    more_activity
        Of a yes-or-no label, what more activity can speak for; empty: what the form says.
    """

    DAYS: ClassVar[tuple[int, ...]] = ALL_DAYS
    JUDGED: ClassVar[tuple[int, ...]] = (14, 28)
    ACTIVITY: ClassVar[str] = "either"

    question: str = ""
    since: tuple[str, ...] = Field((SIGNED_UP,), min_length=1)
    has: Which | None = None
    has_not: Which | None = None
    snapshot_days: tuple[int, ...] = ()
    evaluated_days: tuple[int, ...] = ()
    delay_days: int = Field(0, ge=0)
    shares: Mapping[str, Range] = {}
    more_activity: Literal["for", "against", "either", ""] = ""

    def whiches(self) -> dict[Place, Which]:
        """All events that are spoken of, by key."""
        return {(name,): value for name, value in self if isinstance(value, Which)}

    def until_day(self, day: int) -> int:
        """The last day that the label of day N looks at."""
        raise NotImplementedError

    def text(self) -> str:
        """The question in words."""
        raise NotImplementedError


class Reached(LabelSpec):
    """yes: so many of `reached` by the end of the onboarding's first `within_days` days, of those who have not yet."""

    DAYS = (0, 1, 3, 7, 14)
    JUDGED = (3, 7, 14)

    reached: Which
    within_days: Days

    def until_day(self, day: int) -> int:
        """The horizon's last day."""
        return self.within_days - 1

    def text(self) -> str:
        """The question in words."""
        return f"Will the user reach {self.reached.text()} within {self.within_days} days of {' or '.join(self.since)}?"


class Quiet(LabelSpec):
    """yes: fewer than `count` of `none_of` in days N+1 … N+for_days."""

    JUDGED = (7, 14, 28)
    ACTIVITY = "against"

    none_of: Which
    for_days: Days

    def until_day(self, day: int) -> int:
        """N + for_days."""
        return day + self.for_days

    def text(self) -> str:
        """The question in words."""
        return f"Will there be fewer than {self.none_of.text()} in the next {self.for_days} days?"


class Levels(LabelSpec):
    """The highest of `levels`, rising, that is reached after day N by the end of `within_days`; all reach the first."""

    levels: Mapping[str, Which | None] = Field(min_length=2)
    within_days: Days

    def whiches(self) -> dict[Place, Which]:
        """All events that are spoken of, by key."""
        return super().whiches() | {("levels", name): which for name, which in self.levels.items() if which is not None}

    def until_day(self, day: int) -> int:
        """The horizon's last day."""
        return self.within_days - 1

    def text(self) -> str:
        """The question in words."""
        said = [
            f"{which.text()} ({name})" if which else f"nothing of it ({name})" for name, which in self.levels.items()
        ]
        return f"Will the user, within {self.within_days} days, reach {', '.join(said[:0:-1])} or {said[0]}?"


class Preference(LabelSpec):
    """The format with the most of `most` in days N+1 … N+for_days; ties to the first of `formats`.

    formats
        Those to choose among; empty: all of the product's.
    """

    DAYS = (1, 3, 7, 14, 28)

    most: Which = Which(families=("content_open",))
    for_days: Days
    formats: tuple[str, ...] = ()

    def until_day(self, day: int) -> int:
        """N + for_days."""
        return day + self.for_days

    def text(self) -> str:
        """The question in words."""
        return f"Of which format will there be most in {self.most.named()} of the next {self.for_days} days?"


class Hooked(LabelSpec):
    """Labels that the Python object under `source` makes, because this file's language is too small for them.

    judged_form
        Name of the label's second form, if gates go by that.
    """

    classes: tuple[str, ...] = Field(min_length=2)
    question: str = Field(min_length=1)
    snapshot_days: tuple[int, ...] = Field(min_length=1)
    evaluated_days: tuple[int, ...] = Field(min_length=1)
    judged_form: str = ""

    def until_day(self, day: int) -> int:
        """Not known here: the day after, so that every day has something ahead."""
        return day + 1

    def text(self) -> str:
        """The question in words."""
        return self.question


AnyLabel = Reached | Quiet | Levels | Preference | Hooked
FORMS: Final[Mapping[str, type[AnyLabel]]] = {
    "reached": Reached,
    "none_of": Quiet,
    "levels": Levels,
    "for_days": Preference,
    "classes": Hooked,
}
"""A label's form by the key that only it must have, the first that is there."""


MEANT: Final = {"activation": YES_NO, "skill_level": SKILL_LEVELS}
"""The classes of models that have a field of their own in the answer."""


class About(_Section):
    """What a model card says of the data beside the figures."""

    limits: str = ""
    citation: str = ""


class _Source(_Section):
    labels: Hook
    calendar: Hook | None = None


NOTHING_SAID: Final = About()


@dataclass(frozen=True)
class LabelFile:
    """All of labels.yaml.

    specs
        By model.
    source
        The Python object that makes the labels; None: labels_events.py does.
    """

    specs: Mapping[str, AnyLabel]
    source: Hook | None = None
    about: About = NOTHING_SAID


def has_labels(settings: Settings) -> bool:
    """Whether the product says what its labels mean."""
    return settings.product_file("labels").exists()


def read_labels(path: Path) -> tuple[Document, LabelFile]:
    """The labels of a YAML file. Raises FileError naming the line that is wrong, and what it may be."""
    models, document = read_models(path, FORMATS), read_document(path)
    data = document.data
    source = document.parse(_Source, (SOURCE,)).labels if SOURCE in data else None
    about = document.parse(About, (ABOUT,)) if ABOUT in data else NOTHING_SAID
    specs = {model: document.parse(_form(document, model, data[model]), (model,)) for model in models}
    for model, spec in specs.items():
        _check(document, model, spec, source)
    return document, LabelFile(specs, source, about)


def task_of(spec: LabelSpec) -> Task:
    """What the model is asked: days the file leaves out are those of its form with a future to see."""
    snapshot = spec.snapshot_days or tuple(d for d in spec.DAYS if spec.until_day(d) > d)
    evaluated = spec.evaluated_days or tuple(d for d in spec.JUDGED if d in snapshot) or snapshot[-1:]
    says, form = SAYS[spec.more_activity or spec.ACTIVITY], spec.judged_form if isinstance(spec, Hooked) else ""
    question = spec.question or spec.text()
    return Task(_classes(spec), snapshot, evaluated, form, activity_says=says, question=question)


def _classes(spec: LabelSpec) -> tuple[str, ...]:
    return classes_of(spec.model_dump(), FORMATS)


def _form(document: Document, model: str, said: Any) -> type[AnyLabel]:
    if not isinstance(said, Mapping):
        document.refuse((model,), f"{model} needs keys of its own: one of {', '.join(FORMS)}, and what goes with it")
    for key, form in FORMS.items():
        if key in said:
            return form
    document.refuse((model,), f"{model} says nothing to learn; give one of {', '.join(FORMS)}")


def _check(document: Document, model: str, spec: AnyLabel, source: Hook | None) -> None:
    if isinstance(spec, Hooked) != (source is not None):
        problem = f"`classes` alone is for labels of a `{SOURCE}`" if source is None else f"`{SOURCE}` makes all labels"
        document.refuse((model,), f"{problem}; see {', '.join(FORMS)}")
    meant = MEANT.get(model, _classes(spec))
    if _classes(spec) != meant:
        said = f"{model} has a field of its own in the answer, and says one of {', '.join(meant)}"
        document.refuse((model,), f"{said}, in this order; not {', '.join(_classes(spec))}")
    for key, which in spec.whiches().items():
        _check_which(document, (model, *key), which)
    for name in spec.shares:
        if name not in _classes(spec):
            document.refuse((model, "shares", name), unknown_name(f"class of {model}", name, _classes(spec)))
    if model == "preference" or isinstance(spec, Preference):
        where = "formats" if isinstance(spec, Preference) else "classes"
        for i, name in enumerate(_classes(spec)):
            if name not in FORMATS:
                document.refuse((model, where, i), unknown_name("format", name, FORMATS))
    if isinstance(spec, Levels):
        for i, (name, needed) in enumerate(spec.levels.items()):
            if (needed is None) != (i == 0):
                problem = "everybody reaches the first level: leave it empty" if needed else "names no event"
                document.refuse((model, "levels", name), problem)
    _check_days(document, model, spec)


def _check_which(document: Document, place: Place, which: Which) -> None:
    if not which.events and not which.families:
        document.refuse(place, "names no event; give events (names, or `any`) or families")
    if which.events == "any" and which.families:
        document.refuse((*place, "families"), "`events: any` has all families in it; leave them out")
    for i, name in enumerate(which.families):
        if name not in FAMILIES:
            document.refuse((*place, "families", i), unknown_name("action family", name, FAMILIES))


def _check_days(document: Document, model: str, spec: LabelSpec) -> None:
    for key in ("snapshot_days", "evaluated_days"):
        days: Sequence[int] = getattr(spec, key)
        if list(days) != sorted({*days}) or any(day < 0 for day in days):
            document.refuse((model, key), f"{list(days)} must be days from 0 on, rising, each once")
    for i, day in enumerate(spec.snapshot_days):
        if spec.until_day(day) <= day:
            problem = f"day {day} has nothing ahead: the label looks as far as day {spec.until_day(day)}"
            document.refuse((model, "snapshot_days", i), problem)
    task = task_of(spec)
    if not task.snapshot_days:
        document.refuse((model,), "its horizon ends before the first day a snapshot is taken; widen it")
    for i, day in enumerate(spec.evaluated_days):
        if day not in task.snapshot_days:
            known = ", ".join(map(str, task.snapshot_days))
            document.refuse((model, "evaluated_days", i), f"day {day} is none of the snapshot days {known}")

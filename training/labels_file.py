"""labels.yaml: what activation, disengagement, level and preference mean for a product, in the names of its own events.

Read and checked as a whole; every complaint names the line. labels_events.py makes labels of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from firstmile.documents import Document, Place, read_document
from firstmile.errors import unknown_name
from firstmile.names import FAMILIES
from firstmile.settings import Settings
from training.quality_bounds import Range
from training.tasks import TASKS, Task

Days = Annotated[int, Field(ge=1, le=365)]
SIGNED_UP: Final = "Signed Up"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Which(_Section):
    """Events by name or by action family, or any; and how many of them it takes."""

    events: Literal["any"] | tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    count: int = Field(1, ge=1)

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

    since
        The onboarding begins with the first of these events.
    has, has_not
        Who is asked: users with, and without, these events by the end of day N.
    snapshot_days, evaluated_days
        Days N to learn from and to be judged on; empty: those of tasks.py that the horizon allows.
    delay_days
        From an event to its being known.
    shares
        Bounds of the classes' shares, in place of those quality.yaml has for OULAD.
    """

    since: tuple[str, ...] = Field((SIGNED_UP,), min_length=1)
    has: Which | None = None
    has_not: Which | None = None
    snapshot_days: tuple[int, ...] = ()
    evaluated_days: tuple[int, ...] = ()
    delay_days: int = Field(0, ge=0)
    shares: Mapping[str, Range] = {}

    def whiches(self) -> dict[str, Which]:
        """All events that are spoken of, by key."""
        return {name: value for name, value in self if isinstance(value, Which)}

    def until_day(self, day: int) -> int:
        """The last day that the label of day N looks at."""
        raise NotImplementedError

    def text(self) -> str:
        """The question in words."""
        raise NotImplementedError


class Activation(LabelSpec):
    """1: so many of `reached` by the end of the onboarding's first `within_days` days, among those who have not yet."""

    reached: Which
    within_days: Days

    def until_day(self, day: int) -> int:
        """The horizon's last day."""
        return self.within_days - 1

    def text(self) -> str:
        """The question in words."""
        return f"Will the user reach {self.reached.text()} within {self.within_days} days of {' or '.join(self.since)}?"


class Disengagement(LabelSpec):
    """1: fewer than `count` of `none_of` in days N+1 … N+for_days."""

    none_of: Which
    for_days: Days

    def until_day(self, day: int) -> int:
        """N + for_days."""
        return day + self.for_days

    def text(self) -> str:
        """The question in words."""
        return f"Will there be fewer than {self.none_of.text()} in the next {self.for_days} days?"


class SkillLevel(LabelSpec):
    """By what is done after day N, to the end of `within_days`: advanced, else intermediate, else beginner."""

    intermediate: Which
    advanced: Which
    within_days: Days

    def until_day(self, day: int) -> int:
        """The horizon's last day."""
        return self.within_days - 1

    def text(self) -> str:
        """The question in words."""
        return (
            f"Will the user, within {self.within_days} days, reach {self.advanced.text()} (advanced), "
            f"{self.intermediate.text()} (intermediate) or neither (beginner)?"
        )


class Preference(LabelSpec):
    """The format with the most of `most` in days N+1 … N+for_days; ties to the first in the alphabet."""

    most: Which = Which(families=("content_open",))
    for_days: Days

    def until_day(self, day: int) -> int:
        """N + for_days."""
        return day + self.for_days

    def text(self) -> str:
        """The question in words."""
        return f"Of which format will there be most in {self.most.named()} of the next {self.for_days} days?"


AnyLabel = Activation | Disengagement | SkillLevel | Preference


class LabelFile(_Section):
    """All of labels.yaml; models that are left out are not trained."""

    activation: Activation | None = None
    disengagement: Disengagement | None = None
    skill_level: SkillLevel | None = None
    preference: Preference | None = None

    def specs(self) -> dict[str, AnyLabel]:
        """By model, those that are there."""
        return {name: spec for name, spec in self if spec is not None}


def has_labels(settings: Settings) -> bool:
    """Whether the product says what its labels mean."""
    return settings.product_file("labels").exists()


def read_labels(path: Path) -> tuple[Document, LabelFile]:
    """The labels of a YAML file. Raises DataError naming the line that is wrong, and what it may be."""
    document = read_document(path)
    file = document.parse(LabelFile)
    if not file.specs():
        document.refuse((), f"no label is defined; name one or more of {', '.join(TASKS)}")
    for model, spec in file.specs().items():
        for key, which in spec.whiches().items():
            _check_which(document, (model, key), which)
        for name in spec.shares:
            if name not in TASKS[model].classes:
                problem = unknown_name(f"class of {model}", name, TASKS[model].classes)
                document.refuse((model, "shares", name), problem)
        _check_days(document, model, spec)
    return document, file


def task_of(model: str, spec: LabelSpec) -> Task:
    """What the model is asked under this label: days the file leaves out are those of tasks.py with a future to see."""
    task = TASKS[model]
    snapshot = spec.snapshot_days or tuple(d for d in task.snapshot_days if spec.until_day(d) > d)
    evaluated = spec.evaluated_days or tuple(d for d in task.evaluated_days if d in snapshot) or snapshot[-1:]
    return replace(task, snapshot_days=snapshot, evaluated_days=evaluated, judged_form="", question=spec.text())


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
    task = task_of(model, spec) if spec.snapshot_days or spec.until_day(TASKS[model].snapshot_days[0]) > 0 else None
    if task is None or not task.snapshot_days:
        document.refuse((model,), "its horizon ends before the first day a snapshot is taken; widen it")
    for i, day in enumerate(spec.evaluated_days):
        if day not in task.snapshot_days:
            known = ", ".join(map(str, task.snapshot_days))
            document.refuse((model, "evaluated_days", i), f"day {day} is none of the snapshot days {known}")

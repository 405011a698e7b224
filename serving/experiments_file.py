"""experiments.yaml as checked experiments: who is asked, which arms, which shares, from when on."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from firstmile.clock import to_us
from firstmile.documents import Document, Place, read_document
from firstmile.errors import unknown_name
from firstmile.names import CHALLENGER
from serving.arms import DEFAULT_FLOW, KINDS, RULES, Arm, Step, laid_out
from serving.buckets import N_PLACES
from serving.conditions import Compiler, Fields
from serving.experiments import HOLDOUT, Experiment, Experiments, Holdout
from serving.requests import RequestContext

HELD_OUT: Final = (DEFAULT_FLOW, RULES)
"""What users held out may get: nothing that was learned."""
FIELDS: Final[Fields] = {"request": frozenset(RequestContext.model_fields)}
"""What conditions may look at: an arm is drawn before anything is read, so only what the request itself says."""
ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC)
ROUNDED: Final = 1e-9
"""0.1 + 0.2 + 0.7 is more than 1 in floating point."""
NAME: Final = r"^[a-z0-9][a-z0-9_-]*$"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Step(_Section):
    since: datetime = Field(alias="from")
    share: float = Field(ge=0, le=1)


def _as_steps(share: Any) -> Any:
    """A plain share is a step that has always been."""
    return share if isinstance(share, list) else [{"from": ALWAYS, "share": share}]


class _Arm(_Section):
    name: str = Field(pattern=NAME)
    kind: str
    share: Annotated[tuple[_Step, ...], BeforeValidator(_as_steps)] = Field(min_length=1)


class _Experiment(_Section):
    name: str = Field(pattern=NAME)
    seed: str | None = Field(None, min_length=1)
    when: dict[str, Any] = {}
    shadow: str | None = None
    arms: tuple[_Arm, ...] = Field(min_length=1)


class _Holdout(_Section):
    share: float = Field(gt=0, lt=1)
    kind: str = DEFAULT_FLOW


class _File(_Section):
    holdout: _Holdout | None = None
    experiments: tuple[_Experiment, ...] = ()


def load_experiments(path: Path) -> Experiments:
    """The experiments of a file.

    Raises DataError naming file and line for anything that is not understood, an unknown name, an audit attribute,
    shares over 1 or that shrink, and names given twice.
    """
    document = read_document(path)
    return _Reading(document, document.parse(_File)).experiments()


@dataclass(frozen=True)
class _Reading:
    """One file being turned into experiments."""

    document: Document
    file: _File

    def experiments(self) -> Experiments:
        self._each_once(("experiments",), "experiment", names=[e.name for e in self.file.experiments])
        held = self.file.holdout
        if held is not None and held.kind not in HELD_OUT:
            self.document.refuse((HOLDOUT, "kind"), unknown_name("kind of holdout", held.kind, HELD_OUT))
        return Experiments(
            tuple(self._experiment(("experiments", at), raw) for at, raw in enumerate(self.file.experiments)),
            None if held is None else Holdout(held.kind, self._n_places((HOLDOUT, "share"), held.share)),
        )

    def _experiment(self, place: Place, raw: _Experiment) -> Experiment:
        if raw.name == HOLDOUT:
            self.document.refuse((*place, "name"), f"{HOLDOUT!r} is the name of those held out; take another one")
        if raw.shadow not in (None, CHALLENGER):
            self.document.refuse((*place, "shadow"), unknown_name("shadow", raw.shadow, (CHALLENGER,)))
        self._each_once((*place, "arms"), f"arm of {raw.name}", names=[arm.name for arm in raw.arms])
        arms = tuple(self._arm((*place, "arms", at), arm) for at, arm in enumerate(raw.arms))
        whole = sum(arm.share[-1].share for arm in raw.arms)
        if whole > 1 + ROUNDED:
            self.document.refuse(
                (*place, "arms"), f"the shares of {raw.name} grow to {whole:g} together; they may add up to 1 at most"
            )
        when = Compiler(self.document, FIELDS).condition((*place, "when"), raw.when)
        return Experiment(raw.name, raw.seed or raw.name, when, laid_out(arms), raw.shadow is not None)

    def _arm(self, place: Place, raw: _Arm) -> Arm:
        if raw.kind not in KINDS:
            self.document.refuse((*place, "kind"), unknown_name("kind of arm", raw.kind, KINDS))
        if raw.name == HOLDOUT:
            self.document.refuse((*place, "name"), f"{HOLDOUT!r} is the name of those held out; take another one")
        at = (*place, "share")
        steps = tuple(Step(_us(step.since), round(step.share * N_PLACES)) for step in raw.share)
        for n, (one, next_one) in enumerate(pairwise(steps), 1):
            if next_one.from_us <= one.from_us:
                self.document.refuse((*at, n, "from"), "is not after the step before it; give the steps in order")
            if next_one.n_places < one.n_places:
                message = "is less than the step before it: a share only grows; to end an arm, take it out of the file"
                self.document.refuse((*at, n, "share"), message)
        self._n_places((*at, len(steps) - 1, "share"), raw.share[-1].share)
        return Arm(raw.name, raw.kind, steps)

    def _n_places(self, place: Place, share: float) -> int:
        """Places of a share. A place is 0.01 %: less would be nobody."""
        n = round(share * N_PLACES)
        if not 1 <= n <= N_PLACES:
            self.document.refuse(place, f"a share is from {1 / N_PLACES:g} to 1, not {share:g}")
        return n

    def _each_once(self, place: Place, kind: str, *, names: list[str]) -> None:
        for at, name in enumerate(names):
            if name in names[:at]:
                self.document.refuse((*place, at, "name"), f"{kind} {name!r} is given twice")


def _us(moment: datetime) -> int:
    """A moment without an offset is in UTC."""
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

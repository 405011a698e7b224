"""Models asked side by side: what one does costs no other its answer, in its own arm or in another."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from serving_builder import Broken, model, models

from firstmile.vocabulary import MODELS
from serving import models as module
from serving.models import Scores, ScoringModel
from serving.scoring import N_STAGES, Scoring


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Threads in hung models go on once a test is over."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def scoring() -> Iterator[Scoring]:
    made = Scoring(n_threads=2)
    yield made
    made.close()


def ask(scoring: Scoring, *asked: ScoringModel, timeout_s: float = 10.0) -> tuple[dict[str, str], list[str]]:
    """What kept which model from an answer, and which answered."""
    into = Scores()
    problems = asyncio.run(scoring.ask(asked, {}, into, timeout_s=timeout_s))
    return dict(problems), sorted(into.answered)


@pytest.mark.parametrize("quick_ms", [0.0, 1_000.0])
def test_a_hung_model_costs_its_own_answer_at_first_and_for_ever(
    scoring: Scoring, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, quick_ms: float
) -> None:
    monkeypatch.setattr(module, "QUICK_MS", quick_ms)
    in_use = {**models(), "disengagement": model("disengagement", booster=Broken(gate=gate))}
    others = sorted(set(MODELS) - {"disengagement"})
    seen = [ask(scoring, *in_use.values(), timeout_s=0.5) for _ in range(8)]
    assert [answered for _, answered in seen] == [others] * 8
    assert seen[0][0] == {"disengagement": "late"}
    assert seen[-1][0] == {"disengagement": "refused"}  # its breaker is open: nobody waits for it any more


def test_a_hung_challenger_is_not_the_champions_fault(
    scoring: Scoring, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUICK_MS", 0.0)
    challenger = model("activation", version="7", booster=Broken(gate=gate))
    for _ in range(8):
        ask(scoring, challenger, timeout_s=0.08)
    assert ask(scoring, challenger)[0] == {"activation": "refused"}
    assert ask(scoring, *models().values()) == ({}, sorted(MODELS))


def test_a_model_that_raises_is_not_asked_for_a_while(scoring: Scoring) -> None:
    raising = model("activation", booster=Broken(ValueError("no")))
    seen = []
    for _ in range(9):
        seen.append(ask(scoring, raising)[0]["activation"])
        threading.Event().wait(0.08)
    assert (seen[0], seen[-1]) == ("failed", "refused")


def test_without_time_nobody_is_asked(scoring: Scoring) -> None:
    assert ask(scoring, *models().values(), timeout_s=0.0) == (dict.fromkeys(MODELS, "late"), [])


def test_threads_of_versions_long_gone_are_let_go(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUICK_MS", 0.0)
    before = threading.active_count()
    for version in range(N_STAGES + 5):
        assert ask(scoring, model("activation", version=str(version))) == ({}, ["activation"])
    assert threading.active_count() <= before + N_STAGES + 1

"""Shadow mode: the challenger is heard by the log alone, and by nobody when it is slow or broken."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from serving_builder import Broken, Row, Rows, experiments, ladder, model, models

from firstmile.names import CHALLENGER, CHAMPION
from pipelines.topics import schema_text
from serving.answers import Decision
from serving.arms import DEFAULT_FLOW, RULES
from serving.metrics import Metrics
from serving.models import ScoringModel
from serving.requests import Ask
from serving.shadow import Shadow

USER = "AAA_2014J-1"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds work up until the test is over."""
    held = threading.Event()
    yield held
    held.set()


def decision(kind: str = CHAMPION, *, shadowed: bool = True, **challengers: ScoringModel) -> Decision:
    on = ladder(
        Rows({USER: Row()}),
        drawn_from=experiments(kind, shadowed=shadowed),
        challengers=challengers or {"activation": model("activation", version="7")},
    )
    return asyncio.run(on.decide(Ask(USER), started_s=time.perf_counter()))


def logged(made: Decision, *, timeout_s: float = 20.0, metrics: Metrics | None = None) -> Decision:
    """What the log gets."""
    found: list[Decision] = []

    async def log() -> None:
        shadow = Shadow(found.append, (metrics or Metrics()).shadows, timeout_s=timeout_s)
        shadow.log(made)
        while not found:
            await asyncio.sleep(0.001)
        shadow.close()

    asyncio.run(log())
    (one,) = found
    return one


def test_record_tells_what_the_challenger_would_have_said_and_the_answer_does_not() -> None:
    made = decision()
    record = logged(made).record(worker="w", sequence=0)
    challenger = model("activation", version="7")
    assert record["shadow_models"] == {"activation": "7"}
    assert record["shadow_predictions"] == challenger.probabilities(made.basis.vector)
    assert record["models"]["activation"] == "1"
    assert made.response()["models"]["activation"] == "1"
    assert not any("shadow" in name for name in made.response())
    assert set(record) == {f["name"] for f in orjson.loads(schema_text("personalization.decisions"))["fields"]}


@pytest.mark.parametrize("kind", [RULES, CHAMPION])
def test_arms_that_read_a_row_are_shadowed(kind: str) -> None:
    assert logged(decision(kind)).shadow_models == {"activation": "7"}


@pytest.mark.parametrize(
    ("kind", "shadowed"), [(DEFAULT_FLOW, True), (CHALLENGER, True), (CHAMPION, False), (RULES, False)]
)
def test_nothing_is_asked_where_there_is_nothing_to_hear(kind: str, shadowed: bool) -> None:
    made = decision(kind, shadowed=shadowed)
    assert made.basis.shadow is None
    assert logged(made) is made


def test_challenger_that_is_the_champion_is_not_asked_twice() -> None:
    same = models()
    on = ladder(Rows({USER: Row()}), same, drawn_from=experiments(CHAMPION, shadowed=True), challengers=same)
    made = asyncio.run(on.decide(Ask(USER), started_s=time.perf_counter()))
    assert made.basis.shadow is None


def test_broken_challenger_costs_its_own_word_alone() -> None:
    broken: Any = {
        "activation": model("activation", version="7", booster=Broken(ValueError("bad tree"))),
        "disengagement": model("disengagement", version="8"),
    }
    made = decision(**broken)
    assert (made.basis.rung, made.is_fallback) == ("model", False)
    assert logged(made).shadow_models == {"disengagement": "8"}


def test_challenger_that_raises_the_unexpected_leaves_the_decision_logged_and_counted() -> None:
    metrics = Metrics()
    made = decision(activation=model("activation", version="7", booster=Broken(RuntimeError("no memory"))))
    assert logged(made, metrics=metrics) is made
    assert metrics.registry.get_sample_value("firstmile_shadows_total", {"outcome": "failed"})


def test_hung_challenger_delays_no_answer_and_its_decision_is_logged_without_it(gate: threading.Event) -> None:
    made = decision(activation=model("activation", version="7", booster=Broken(gate=gate)))
    assert made.basis.rung == "model"
    assert logged(made, timeout_s=0.05) is made


def test_decisions_that_wait_for_their_shadow_are_logged_at_the_end_once(gate: threading.Event) -> None:
    made = decision(activation=model("activation", version="7", booster=Broken(gate=gate)))
    found: list[Decision] = []

    async def log() -> None:
        shadow = Shadow(found.append, Metrics().shadows)
        shadow.log(made)
        await asyncio.sleep(0)
        shadow.close()
        assert found == [made]
        gate.set()
        await asyncio.sleep(0.05)

    asyncio.run(log())
    assert found == [made]
